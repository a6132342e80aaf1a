"""What all metrics over embeddings have in common."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from helpers import two_processes
from helpers.command_line import python
from helpers.given_vectors import METRICS, made, rows_of, scores
from helpers.two_processes import SHARES

OVER_TEXTS = [name for name in METRICS if METRICS[name]]


def named(name: str) -> Any:
    return lambda: made(name)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("two")
    done = python("-m", two_processes.__name__, str(folder))
    assert (done.status, done.err) == (0, "")
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("case", SHARES)
@pytest.mark.parametrize("name", METRICS)
def test_two_processes_equal_one(name: str, case: str, found: dict[str, Any]) -> None:
    assert found[f"{name}, {case}"] == pytest.approx(scores(named(name), *rows_of(name)), abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_batches_and_what_does_not_count_have_no_influence(name: str) -> None:
    predictions, labels = rows_of(name)
    counted = ~(labels.isnan() | (labels == -100))
    assert 0 < int(counted.sum()) < len(labels)
    kept = scores(named(name), predictions[counted], labels[counted], size=40)
    assert scores(named(name), predictions, labels, size=1) == pytest.approx(kept, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("name", METRICS)
def test_nothing_counted_is_zero(name: str) -> None:
    predictions, labels = rows_of(name)
    uncounted = torch.full_like(labels, math.nan if labels.is_floating_point() else -100)
    keys = scores(named(name), predictions, labels).keys()
    zeros = dict.fromkeys(keys, 0)
    assert scores(named(name), predictions, uncounted) == zeros
    assert made(name).compute() == zeros


@pytest.mark.parametrize("name", METRICS)
def test_reset_forgets(name: str) -> None:
    metric = made(name)
    predictions, labels = rows_of(name)
    metric.update(predictions[:20], labels[:20])
    metric.reset()
    metric.update(predictions[20:], labels[20:])
    assert metric.compute() == scores(named(name), predictions[20:], labels[20:])


@pytest.mark.parametrize("name", METRICS)
def test_inputs_are_left_as_they_are(name: str) -> None:
    predictions, labels = rows_of(name)
    before = predictions.clone(), labels.clone()
    scores(named(name), predictions, labels)
    assert torch.equal(predictions, before[0])
    torch.testing.assert_close(labels, before[1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", OVER_TEXTS)
def test_another_number_of_texts_is_refused(name: str) -> None:
    predictions, labels = rows_of(name)
    wrong = predictions[:, :1] if METRICS[name] > 1 else predictions.repeat(1, 2, 1)
    with pytest.raises(ValueError, match=r"metrics need embeddings \(B, K, D\) with K .*found"):
        made(name).update(wrong, labels)
