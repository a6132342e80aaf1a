from __future__ import annotations

import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2
from torch import Tensor, distributed, multiprocessing

from candelabra.metrics.spans import SpanMetrics
from candelabra.records import IGNORED

LABELS = ["O", "B-Actor", "I-Year", "I-Actor", "B-Year", "B-Plot_Part", "I-Plot_Part"]
MODES: dict[str, dict[str, Any]] = {"": {}, "_strict": {"mode": "strict", "scheme": IOB2}}

texts = st.lists(
    st.lists(st.tuples(*[st.integers(0, len(LABELS) - 1)] * 2), max_size=8), min_size=1, max_size=6
)
Texts = list[list[tuple[int, int]]]


def _padded(rows: Texts) -> tuple[Tensor, Tensor]:
    """(predicted, gold) words of each text as two tensors; junk predictions at padding."""
    width = max(len(row) for row in rows)
    tags_BW = torch.full((len(rows), width), 1)
    labels_BW = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        for j, (predicted, gold) in enumerate(row):
            tags_BW[i, j], labels_BW[i, j] = predicted, gold
    return tags_BW, labels_BW


def _scores(rows: Texts) -> dict[str, float]:
    metric = SpanMetrics(LABELS)
    metric.update(*_padded(rows))
    return {name: value.item() for name, value in metric.compute().items()}


def _seqeval(rows: Texts) -> dict[str, float]:
    """The same scores by seqeval; those of types that it does not list are left out."""
    predicted, gold = ([[LABELS[word[side]] for word in row] for row in rows] for side in (0, 1))
    scores: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix, mode in MODES.items():
            scores[f"f1{suffix}"] = seqeval.f1_score(gold, predicted, **mode)
            scores[f"precision{suffix}"] = seqeval.precision_score(gold, predicted, **mode)
            scores[f"recall{suffix}"] = seqeval.recall_score(gold, predicted, **mode)
        report = seqeval.classification_report(gold, predicted, output_dict=True)
    scores["f1_macro"] = report["macro avg"]["f1-score"]
    for entity in report.keys() - {"micro avg", "macro avg", "weighted avg"}:
        scores[f"f1/{entity}"] = report[entity]["f1-score"]
        scores[f"precision/{entity}"] = report[entity]["precision"]
        scores[f"recall/{entity}"] = report[entity]["recall"]
        scores[f"support/{entity}"] = report[entity]["support"]
    return scores


def _has_span(rows: Texts) -> bool:
    return any(word != (0, 0) for row in rows for word in row)


@settings(max_examples=150, deadline=None)
@given(texts.filter(_has_span))
def test_equals_seqeval_in_both_modes(rows: Texts) -> None:
    scores, expected = _scores(rows), _seqeval(rows)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert all(scores[name] == 0 for name in scores.keys() - expected.keys())


def test_the_modes_part_where_a_span_starts_with_i() -> None:
    actor, inside = LABELS.index("B-Actor"), LABELS.index("I-Actor")
    scores = _scores([[(inside, actor), (inside, inside)]])
    assert (scores["f1"], scores["f1_strict"]) == (1.0, 0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 0)])
def test_nothing_to_find_is_zero(shape: tuple[int, int]) -> None:
    metric = SpanMetrics(LABELS)
    metric.update(torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long))
    metric.update(torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED))
    scores = metric.compute()
    assert not any(scores.values())
    per_type = {f"{n}/{t}" for n in ("f1", "precision", "recall", "support") for t in metric.types}
    overall = {f"{name}{mode}" for name in ("f1", "precision", "recall") for mode in MODES}
    assert scores.keys() == per_type | overall | {"f1_macro"}
    assert metric.types == ["Actor", "Plot_Part", "Year"]


@settings(max_examples=25, deadline=None)
@given(texts, texts)
def test_halves_add_up(first: Texts, second: Texts) -> None:
    whole, left, right = (SpanMetrics(LABELS) for _ in range(3))
    for metric, rows in [(whole, first), (whole, second), (left, first), (right, second)]:
        metric.update(*_padded(rows))
    left.merge_state(right)
    assert torch.equal(left.default, whole.default)
    assert torch.equal(left.strict, whole.strict)
    assert left.compute() == whole.compute()


def test_padding_between_words_is_dropped_too() -> None:
    tags = torch.tensor([[1, 0, 3, 0]])
    metric = SpanMetrics(LABELS)
    metric.update(tags, torch.tensor([[1, IGNORED, 3, 0]]))
    assert metric.compute()["f1"] == 1
    assert metric.compute()["support/Actor"] == 1


@pytest.mark.parametrize(
    ("tags", "labels", "message"),
    [
        ([[0, IGNORED]], [[0, 0]], "id from 0 to 6; found ids from -100 to 0"),
        ([[0, 1]], [[0, 7]], "found ids from 0 to 7"),
        ([[0, 1]], [[0]], r"found \(1, 2\) and \(1, 1\)"),
    ],
)
def test_bad_input_is_named(tags: list[list[int]], labels: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpanMetrics(LABELS).update(torch.tensor(tags), torch.tensor(labels))


@pytest.mark.parametrize("labels", [["O"], [], ["O", "NOUN"]])
def test_labels_without_entities_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="found"):
        SpanMetrics(labels)


def _random_batch(num_texts: int, num_words: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (num_texts, num_words)
    labels_BW = torch.randint(len(LABELS), shape, generator=generator)
    other_BW = torch.randint(len(LABELS), shape, generator=generator)
    tags_BW = torch.where(torch.rand(shape, generator=generator) < 0.7, labels_BW, other_BW)
    lengths_B = torch.randint(num_words + 1, (num_texts,), generator=generator)
    padding_BW = torch.arange(num_words) >= lengths_B.unsqueeze(1)
    return tags_BW, labels_BW.masked_fill(padding_BW, IGNORED)


def test_two_thousand_texts_take_little_time() -> None:
    metric, batch = SpanMetrics(LABELS), _random_batch(2000, 40)
    start = time.process_time()
    metric.update(*batch)
    metric.compute()
    assert time.process_time() - start < 2


def _one_of_two(rank: int, folder: str) -> None:
    """Score every other text; rank 0 writes what all ranks together found."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    tags_BW, labels_BW = _random_batch(25, 8)
    metric = SpanMetrics(LABELS)
    metric.update(tags_BW[rank::2], labels_BW[rank::2])
    scores = metric.compute()
    if rank == 0:
        torch.save(scores, f"{folder}/scores.pt")
    distributed.destroy_process_group()


def test_two_processes_score_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The children import this module by its name, whichever way pytest imported it.
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    one = SpanMetrics(LABELS)
    one.update(*_random_batch(25, 8))
    assert torch.load(tmp_path / "scores.pt", weights_only=True) == one.compute()
