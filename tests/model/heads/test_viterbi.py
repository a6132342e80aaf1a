from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities
from torch import Tensor

from candelabra.model.heads.viterbi import bio_constraints, viterbi
from candelabra.records import IGNORED

LABELS = ["O", "B-Actor", "I-Year", "I-Actor", "B-Year"]
START_C, STEPS_CC = bio_constraints(LABELS)


def _is_valid(tags: list[int]) -> bool:
    before = "O"
    for label in (LABELS[tag] for tag in tags):
        if label.startswith("I-") and before[2:] != label[2:]:
            return False
        before = label
    return True


def _random(num_rows: int, num_words: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num_rows, num_words, len(LABELS), generator=generator)


def _mask(lengths: list[int], num_words: int) -> Tensor:
    return torch.arange(num_words) < torch.tensor(lengths).unsqueeze(1)


def test_constraints_are_those_of_bio() -> None:
    assert START_C.tolist() == [True, True, False, False, True]
    for before, after in product(range(len(LABELS)), repeat=2):
        following = _is_valid([before, after]) if START_C[before] else None
        if LABELS[before] == "I-Year":
            following = LABELS[after] not in ("I-Actor",)
        if LABELS[before] == "I-Actor":
            following = LABELS[after] not in ("I-Year",)
        assert STEPS_CC[before, after].item() is following, (LABELS[before], LABELS[after])


def test_labels_that_are_not_bio_are_named() -> None:
    with pytest.raises(ValueError, match=r"BIO tag.*found 'NOUN'"):
        bio_constraints(["O", "NOUN"])


def test_labels_that_cannot_start_a_text() -> None:
    with pytest.raises(ValueError, match="to start with; found"):
        bio_constraints(["I-Actor"])


@pytest.mark.parametrize("seed", range(5))
def test_finds_what_enumeration_finds(seed: int) -> None:
    lengths = [4, 0, 2, 1, 3]
    scores_BWC = _random(len(lengths), 4, seed)
    found_BW = viterbi(scores_BWC, _mask(lengths, 4), START_C, STEPS_CC)
    log_BWC = scores_BWC.log_softmax(-1)
    for row, length in enumerate(lengths):
        paths = [path for path in product(range(5), repeat=length) if _is_valid(list(path))]
        best = max(paths, key=lambda path: sum(log_BWC[row, w, tag] for w, tag in enumerate(path)))
        assert found_BW[row].tolist() == [*best, *[IGNORED] * (4 - length)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 10_000))
def test_always_valid_and_argmax_where_that_is_valid(lengths: list[int], seed: int) -> None:
    scores_BWC, mask_BW = _random(len(lengths), 7, seed), _mask(lengths, 7)
    found_BW = viterbi(scores_BWC, mask_BW, START_C, STEPS_CC)
    for found_W, argmax_W, length in zip(found_BW, scores_BWC.argmax(-1), lengths, strict=True):
        tags, argmax = found_W[:length].tolist(), argmax_W[:length].tolist()
        assert _is_valid(tags)
        assert not _is_valid(argmax) or tags == argmax
        assert (found_W[length:] == IGNORED).all()


def test_both_modes_of_seqeval_see_the_same_spans() -> None:
    for tags in viterbi(_random(50, 9), _mask([9] * 50, 9), START_C, STEPS_CC).tolist():
        names = [LABELS[tag] for tag in tags]
        (strict,) = Entities([names], scheme=IOB2).entities
        assert [(e.tag, e.start, e.end - 1) for e in strict] == get_entities(names)


def test_near_ties_over_a_long_text_stay_argmax() -> None:
    """The sum of 500 log-probabilities rounds more than the two tags differ."""
    scores_BWC = torch.zeros(1, 500, 5)
    scores_BWC[..., 0] = 1e-6
    assert not viterbi(scores_BWC, _mask([500], 500), START_C, STEPS_CC).any()


def test_padding_has_no_influence() -> None:
    scores_BWC, mask_BW = _random(3, 6), _mask([2, 6, 0], 6)
    expected_BW = viterbi(scores_BWC, mask_BW, START_C, STEPS_CC)
    dirty_BWC = scores_BWC.masked_fill(~mask_BW.unsqueeze(-1), float("nan"))
    assert torch.equal(viterbi(dirty_BWC, mask_BW, START_C, STEPS_CC), expected_BW)


def test_log_probabilities_and_half_precision() -> None:
    scores_BWC, mask_BW = _random(4, 6), _mask([6] * 4, 6)
    expected_BW = viterbi(scores_BWC, mask_BW, START_C, STEPS_CC)
    assert torch.equal(
        viterbi(scores_BWC.log_softmax(-1), mask_BW.long(), START_C, STEPS_CC), expected_BW
    )
    rounded_BWC = scores_BWC.bfloat16()
    assert torch.equal(
        viterbi(rounded_BWC, mask_BW, START_C, STEPS_CC),
        viterbi(rounded_BWC.float(), mask_BW, START_C, STEPS_CC),
    )


@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0, 0)])
def test_nothing_to_decode(shape: tuple[int, int]) -> None:
    found_BW = viterbi(torch.zeros(*shape, 5), torch.ones(shape), START_C, STEPS_CC)
    assert found_BW.shape == shape
    assert found_BW.dtype is torch.long


def test_inputs_are_unchanged() -> None:
    scores_BWC, mask_BW = _random(2, 3), _mask([3, 1], 3)
    copies = [each.clone() for each in (scores_BWC, mask_BW, START_C, STEPS_CC)]
    viterbi(scores_BWC, mask_BW, START_C, STEPS_CC)
    for each, copy in zip((scores_BWC, mask_BW, START_C, STEPS_CC), copies, strict=True):
        assert torch.equal(each, copy)
