from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.collate import TokenizedSplit, pad_tokens, tokenize_task
from candelabra.data.loading import load_task
from candelabra.data.sources import Sample
from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from candelabra.records import IGNORED
from helpers.toys import encode, sentences, tagged, toy_sentences, toy_tags

rows_of_24 = st.lists(st.integers(0, 23), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def texts(tokenizer: TextTokenizer) -> TokenizedSplit:
    return encode(toy_sentences(24, 0), tokenizer)


@pytest.fixture(scope="module")
def words(tokenizer: TextTokenizer) -> TokenizedSplit:
    """Room for 6 tokens: most rows lose words."""
    short = TextTokenizer(tokenizer.tokenizer, max_length=6)
    return encode(toy_tags(24, 0), short)


@given(st.lists(st.lists(st.integers(1, 99), min_size=1), min_size=1, max_size=6))
def test_padding_reaches_the_longest(texts: list[list[int]]) -> None:
    tokens = pad_tokens([np.array(text) for text in texts], 0)
    assert tokens.ids_BL.shape == tokens.mask_BL.shape == (len(texts), max(map(len, texts)))
    assert tokens.mask_BL.sum(1).tolist() == [len(text) for text in texts]
    for text, ids, mask in zip(texts, tokens.ids_BL.tolist(), tokens.mask_BL.tolist(), strict=True):
        assert ids == text + [0] * (len(ids) - len(text))
        assert mask == sorted(mask, reverse=True)


def test_padding_takes_the_tokenizers_id() -> None:
    assert pad_tokens([np.array([5]), np.array([6, 7])], 1).ids_BL.tolist() == [[5, 1], [6, 7]]


@given(rows_of_24)
def test_single_texts(texts: TokenizedSplit, rows: list[int]) -> None:
    batch = texts.batch(rows)
    assert batch.rows_B.tolist() == rows
    assert batch.labels.tolist() == [texts.examples.labels[row] for row in rows]
    assert batch.targets.tolist() == batch.labels.tolist()
    assert (batch.num_units, batch.num_examples, batch.first_BW) == (len(rows), len(rows), None)
    assert batch.num_tokens == sum(len(texts.texts[0].text(row)) for row in rows)
    (tokens,) = batch.texts
    for row, ids, mask in zip(rows, tokens.ids_BL, tokens.mask_BL, strict=True):
        assert ids[mask.bool()].tolist() == texts.texts[0].text(row).tolist()
    assert texts.units.tolist() == [1] * 24


@given(rows_of_24)
def test_tagged_words(words: TokenizedSplit, rows: list[int]) -> None:
    batch = words.batch(rows)
    assert batch.first_BW is not None
    assert batch.rows_B.tolist() == rows
    assert batch.labels.shape == batch.first_BW.shape
    for row, labels, first, targets in zip(
        rows, batch.labels.tolist(), batch.first_BW.tolist(), batch.targets.tolist(), strict=True
    ):
        gold, pieces = words.examples.labels[row], words.texts[0].words(row).tolist()
        padding = len(labels) - len(gold)
        assert labels == gold + [IGNORED] * padding
        assert first == pieces + [-1] * padding
        seen = [tag if piece >= 0 else IGNORED for tag, piece in zip(gold, pieces, strict=True)]
        assert targets == seen + [IGNORED] * padding
    assert words.units[rows].sum() == (batch.targets != IGNORED).sum() == batch.num_units
    assert (batch.num_examples, batch.num_tokens) == (len(rows), words.lengths[rows].sum())


@given(rows_of_24, st.integers(1, 4), st.booleans())
def test_a_part_counts_the_whole_step(
    texts: TokenizedSplit, words: TokenizedSplit, step: list[int], size: int, counted: bool
) -> None:
    """What the loss divides by, and what was seen, are the same on every rank."""
    for split in (texts, words):
        part, whole = (
            split.batch(step[:size], of=np.array(step), counted=counted),
            split.batch(step),
        )
        assert part.rows_B.tolist() == step[:size]
        for key in ("num_units", "num_examples", "num_tokens"):
            assert getattr(part, key) == getattr(whole, key)


def test_units_are_the_words_that_were_not_cut(words: TokenizedSplit) -> None:
    counts = [sum(piece >= 0 for piece in words.texts[0].words(row)) for row in range(24)]
    assert words.units.tolist() == counts
    assert max(counts) == 4
    assert sum(counts) < sum(map(len, words.examples.labels))


def test_a_row_whose_words_were_all_dropped_has_no_units(tokenizer: TextTokenizer) -> None:
    gone = (["\u200b"], [1])
    split = encode(tagged([gone, (["a", "film"], [1, 1]), gone, gone]), tokenizer)
    assert split.units.tolist() == [0, 2, 0, 0]


@pytest.mark.parametrize("name", ["texts", "words"])
def test_an_uncounted_row_has_no_labels(name: str, request: pytest.FixtureRequest) -> None:
    split = request.getfixturevalue(name)
    counted = split.batch([3, 4])
    idle = split.batch([3, 4], counted=False)
    assert (idle.labels == IGNORED).all()
    assert (idle.targets == IGNORED).all()
    assert idle.labels.dtype == counted.labels.dtype == torch.int64
    assert idle.labels.shape == counted.labels.shape
    assert torch.equal(idle.texts[0].ids_BL, counted.texts[0].ids_BL)
    assert idle.num_units == counted.num_units


def test_the_longest_of_several_texts_counts() -> None:
    def column(*lengths: int) -> TokenizedTexts:
        return TokenizedTexts(np.zeros(sum(lengths)), np.cumsum([0, *lengths]))

    split = TokenizedSplit(sentences(["a", "b"], [0, 1]), (column(3, 4), column(5, 2)), 0)
    assert split.lengths.tolist() == [5, 4]
    batch = split.batch([0, 1])
    assert [tokens.ids_BL.shape for tokens in batch.texts] == [(2, 4), (2, 5)]


def test_any_kind_of_indices(texts: TokenizedSplit) -> None:
    batch = texts.batch(np.array([5, 2]))
    assert batch.rows_B.dtype is torch.int64
    assert torch.equal(batch.texts[0].ids_BL, texts.batch([5, 2]).texts[0].ids_BL)


def test_several_labels_count_where_they_are_known(tokenizer: TextTokenizer) -> None:
    held = [[1, 0, IGNORED], [0, 0, 1], [IGNORED] * 3]
    split = encode(replace(toy_sentences(3, 0), labels=held), tokenizer)
    batch = split.batch([2, 0], of=np.array([0, 1, 2]))
    assert (batch.targets.tolist(), batch.num_units) == ([held[2], held[0]], 2 + 3 + 0)
    assert batch.labels.dtype is torch.long
    assert (split.batch([1], counted=False).targets == IGNORED).all()


def test_numbers_are_float32_and_nan_where_they_do_not_count(tokenizer: TextTokenizer) -> None:
    split = encode(replace(toy_sentences(2, 0), labels=[-100.0, 2.5]), tokenizer)
    batch = split.batch([0, 1])
    assert (batch.targets.tolist(), batch.targets.dtype) == ([-100.0, 2.5], torch.float32)
    assert batch.num_units == 2
    assert split.batch([0, 1], counted=False).targets.isnan().all()


def test_words_without_a_label_are_no_units(words: TokenizedSplit) -> None:
    labels = [list(tags) for tags in words.examples.labels]
    labels[3][0] = IGNORED
    split = replace(words, examples=replace(words.examples, labels=labels))
    expected = words.units.copy()
    expected[3] -= 1
    assert split.units.tolist() == expected.tolist()


def test_a_task_is_tokenized_split_by_split(tokenizer: TextTokenizer) -> None:
    data = load_task(
        "mood",
        source=Sample("reviews"),
        columns={"text": "text", "label": "label"},
        limit={"train": 5, "validation": 3, "test": 2},
    )
    splits = tokenize_task(data, tokenizer)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 5,
        "validation": 3,
        "test": 2,
    }
    (text,) = splits["test"].texts
    assert text.text(0).tolist() == tokenizer(data.splits["test"].texts[0]).text(0).tolist()
