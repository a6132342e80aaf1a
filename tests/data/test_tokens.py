from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from candelabra.data.rows.cells import joined_words
from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from candelabra.data.truncation import TRUNCATIONS, head, head_tail, tail
from candelabra.model.encoder_files import package_folder
from helpers.small_models import byte_level
from helpers.toys import BUNDLED

FOLDER = package_folder(BUNDLED.removeprefix("package:"))
BERT = AutoTokenizer.from_pretrained(FOLDER)
LONG = 512
WIDE = TextTokenizer(BERT, max_length=LONG)

lengths = st.integers(0, 600)
budgets = st.integers(1, 600)
# Letters of many scripts, accents, punctuation, digits, emoji: what a words column may hold.
characters = st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"])
words_of_any_script = st.lists(
    st.text(characters, min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=12
)
plain_words = st.lists(
    st.sampled_from(["film", "unbelievable", "don't", "1995", "Amélie", "electroencephalography"]),
    min_size=1,
    max_size=30,
)


def first_of(tokenizer: PreTrainedTokenizerFast, words: list[str]) -> list[int]:
    """Each word's first piece by transformers' own alignment; -1 for a word without pieces."""
    found = tokenizer(words, is_split_into_words=True).word_ids()
    return [found.index(word) if word in found else -1 for word in range(len(words))]


def aligned(tokenizer: TextTokenizer, words: list[str]) -> TokenizedTexts:
    text, spans = joined_words(words)
    return tokenizer([text], [spans])


@given(lengths, budgets)
def test_truncations_are_slices(length: int, budget: int) -> None:
    pieces = list(range(length))
    assert head(length, budget).tolist() == pieces[:budget]
    assert tail(length, budget).tolist() == pieces[-budget:]
    front = round(budget / 4)
    both = pieces if length <= budget else pieces[:front] + pieces[length - (budget - front) :]
    assert abs(front - budget / 4) <= 0.5
    assert head_tail(length, budget).tolist() == both


@given(st.sampled_from(list(TRUNCATIONS)), lengths, budgets)
def test_truncations_keep_the_budget_in_order(name: str, length: int, budget: int) -> None:
    kept = TRUNCATIONS[name](length, budget)
    assert len(kept) == min(length, budget)
    assert (np.diff(kept) > 0).all()
    assert not len(kept) or (kept[0] >= 0 and kept[-1] < length)


def test_head_tail_is_the_papers_split() -> None:
    kept = head_tail(1000, 510)
    assert (kept < 500).sum() == 128
    assert (kept >= 500).sum() == 382


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4), st.integers(3, 40))
def test_ids_are_transformers_own(texts: list[str], max_length: int) -> None:
    ours = TextTokenizer(BERT, max_length=max_length)(texts)
    theirs = BERT(texts, truncation=True, max_length=max_length)["input_ids"]
    assert [ours.text(i).tolist() for i in range(len(ours))] == theirs
    assert ours.lengths.tolist() == [len(ids) for ids in theirs]


@given(words_of_any_script)
def test_first_pieces_are_transformers_own(words: list[str]) -> None:
    assert aligned(WIDE, words).words(0).tolist() == first_of(BERT, words)


def test_every_row_finds_its_own_words() -> None:
    rows = [["unbelievable", "film"], ["a"], ["don't", "stop", "electroencephalography"]]
    texts, spans = zip(*map(joined_words, rows), strict=True)
    found = WIDE(texts, spans)
    assert [found.words(i).tolist() for i in range(3)] == [first_of(BERT, row) for row in rows]


@given(plain_words, st.sampled_from(list(TRUNCATIONS)), st.integers(3, 20))
def test_words_that_were_cut_have_no_piece(
    words: list[str], truncation: str, max_length: int
) -> None:
    cut = aligned(TextTokenizer(BERT, max_length=max_length, truncation=truncation), words)
    ids, whole = BERT(" ".join(words))["input_ids"], first_of(BERT, words)
    kept = TRUNCATIONS[truncation](len(ids) - 2, max_length - 2) + 1
    new_place = {int(old): new for new, old in enumerate(kept, start=1)}
    assert cut.words(0).tolist() == [new_place.get(old, -1) for old in whole]
    assert cut.text(0).tolist() == [ids[0], *(ids[i] for i in kept), ids[-1]]


@pytest.mark.parametrize("dropped", ["\u200b", "\x07\x1b", "\ufeff", "\u0301"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_word_that_the_tokenizer_drops_has_no_piece(dropped: str, place: int) -> None:
    words = ["which", "old", "film"]
    words.insert(place, dropped)
    found = aligned(WIDE, words).words(0).tolist()
    assert found.pop(place) == -1
    assert found == [1, 2, 3]


def test_a_text_of_nothing_but_dropped_words() -> None:
    found = aligned(WIDE, ["\u200b", "\u200b"])
    assert found.words(0).tolist() == [-1, -1]
    assert found.lengths.tolist() == [2]


LEARNED = ["which old film has the unbelievable actor"]
ROBERTA = {trim: byte_level(LEARNED, vocab_size=330, trim_offsets=trim) for trim in (True, False)}


@given(words_of_any_script | plain_words, st.booleans())
def test_byte_level_first_pieces_lie_inside_their_words(words: list[str], trim: bool) -> None:
    text, spans = joined_words(words)
    found = TextTokenizer(ROBERTA[trim], max_length=LONG)([text], [spans]).words(0).tolist()
    offsets = ROBERTA[trim](text, return_offsets_mapping=True)["offset_mapping"]
    assert found == sorted(set(found))
    for place, (start, end) in zip(found, spans, strict=True):
        # The piece may also cover the space before; the piece before it must not reach the word.
        assert start < offsets[place][1] <= end
        assert offsets[place][0] <= start
        assert offsets[place - 1][1] <= start


@given(plain_words)
def test_byte_level_first_pieces_are_transformers_own(words: list[str]) -> None:
    known = ["film", "which", "old", *(word for word in words if word.isascii())]
    pieces = ROBERTA[True](" ".join(known))
    theirs = [pieces.char_to_token(start) for start, _ in joined_words(known)[1]]
    assert aligned(TextTokenizer(ROBERTA[True], max_length=LONG), known).words(0).tolist() == theirs


def test_byte_level_special_tokens_stand_outside() -> None:
    cut = aligned(TextTokenizer(ROBERTA[True], max_length=4), ["which", "film"] * 9)
    assert cut.text(0)[[0, -1]].tolist() == [0, 2]
    assert len(cut.text(0)) == 4


def test_more_texts_than_a_chunk() -> None:
    texts = [f"film {i}" for i in range(2345)]
    found = WIDE(texts)
    assert len(found) == len(texts)
    for i in (0, 999, 1000, 2000, 2344):
        assert found.text(i).tolist() == BERT(texts[i])["input_ids"]


def test_unusable_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"truncation must be one of .*'head'.*, got 'middle'"):
        TextTokenizer(BERT, max_length=9, truncation="middle")
    with pytest.raises(ValueError, match="must leave room for a token, got 2"):
        TextTokenizer(BERT, max_length=2)
    with pytest.raises(ValueError, match="fast tokenizer is needed"):
        TextTokenizer(object(), max_length=9)  # type: ignore[arg-type]
    unpadded = PreTrainedTokenizerFast(tokenizer_object=BERT.backend_tokenizer)
    with pytest.raises(ValueError, match="no padding token"):
        TextTokenizer(unpadded, max_length=9)
