"""Masked words: what transformers' collator does, for the same texts on every process."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.backbones import Tiny
from candelabra.pretraining.masked_words import MaskedSplit, MaskedWords
from candelabra.records import IGNORED, Batch
from helpers.toys import toy_sentences, untagged

TEXTS = toy_sentences(200, 1).texts[0]


@pytest.fixture(scope="module")
def split(tokenizer: TextTokenizer) -> MaskedSplit:
    return MaskedWords(0.3).split(untagged(TEXTS, tokenizer), tokenizer, seed=5)


def originals(split: MaskedSplit, batch: Batch) -> torch.Tensor:
    """The ids of a batch with the right words in their places."""
    assert batch.first_BW is not None
    ids_BL = batch.texts[0].ids_BL.clone()
    for line, (places, labels) in enumerate(zip(batch.first_BW, batch.labels, strict=True)):
        assert torch.equal(places >= 0, labels != IGNORED)
        ids_BL[line, places[places >= 0]] = labels[places >= 0]
    return ids_BL


def test_the_labels_are_the_words_behind_the_masks(split: MaskedSplit) -> None:
    batch = split.batch(range(len(split)), step=3)
    ids_BL, mask_BL = originals(split, batch), batch.texts[0].mask_BL.bool()
    for row, (ids, mask) in enumerate(zip(ids_BL, mask_BL, strict=True)):
        assert torch.equal(ids[mask], torch.from_numpy(split.texts[0].text(row)).long())
    special = torch.isin(ids_BL, torch.tensor(split.collator.tokenizer.all_special_ids))
    assert torch.equal(batch.texts[0].ids_BL[special], ids_BL[special])
    assert batch.num_units == int((batch.labels != IGNORED).sum())
    assert batch.num_units / int((~special).sum()) == pytest.approx(0.3, abs=0.05)


def test_a_text_is_masked_as_by_the_collator(split: MaskedSplit, tokenizer: TextTokenizer) -> None:
    collator = DataCollatorForLanguageModeling(tokenizer.tokenizer, mlm_probability=0.3)
    state = np.random.SeedSequence([5, 3 + 1, 7]).generate_state(1, np.uint64)[0]
    collator.generator = torch.Generator().manual_seed(int(state))
    expected = collator([{"input_ids": split.texts[0].text(7).tolist()}])
    batch = split.batch([7], step=3)
    assert torch.equal(batch.texts[0].ids_BL, expected["input_ids"])
    (labels,) = expected["labels"]
    assert batch.labels[0].tolist() == labels[labels != IGNORED].tolist()


def test_parts_of_a_step_are_masked_as_the_whole(split: MaskedSplit) -> None:
    rows = np.array([4, 9, 17, 30])
    whole = originals_and_masks(split.batch(rows, step=2))
    for part in ([4, 17], [30, 9]):
        batch = split.batch(part, of=rows, step=2)
        assert batch.num_units == split.batch(rows, step=2).num_units
        assert (batch.num_examples, batch.num_tokens) == (4, int(split.lengths[rows].sum()))
        assert originals_and_masks(batch) == {row: whole[row] for row in part}
    assert originals_and_masks(split.batch(rows, step=3)) != whole
    assert originals_and_masks(split.batch(rows)) == originals_and_masks(split.batch(rows))


def originals_and_masks(batch: Batch) -> dict[int, tuple[list[int], list[int]]]:
    """Row -> its ids without padding, and its labels."""
    (text,) = batch.texts
    return {
        int(row): (ids[mask.bool()].tolist(), labels[labels != IGNORED].tolist())
        for row, ids, mask, labels in zip(
            batch.rows_B, text.ids_BL, text.mask_BL, batch.labels, strict=True
        )
    }


def test_a_batch_without_any_mask_counts_nothing(tokenizer: TextTokenizer) -> None:
    split = MaskedWords(1e-9).split(untagged(["a"] * 3, tokenizer), tokenizer, seed=0)
    batch = split.batch([0, 1], step=0)
    assert batch.labels.tolist() == [[IGNORED], [IGNORED]]
    assert batch.num_units == 1
    filler = split.batch([2], of=np.array([0, 1, 2]), counted=False, step=0)
    assert filler.labels.eq(IGNORED).all()
    assert not filler.counted


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    tokenizer = Tiny().tokenizer()
    tokenizer.tokenizer.mask_token = None
    with pytest.raises(ConfigError, match="encoder: its tokenizer has no mask token"):
        MaskedWords(0.3).load(Tiny(), tokenizer)
