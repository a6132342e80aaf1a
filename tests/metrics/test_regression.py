from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error
from torch import Tensor

from candelabra.metrics.regression import RegressionMetrics


def scores(numbers: Tensor, labels: Tensor) -> dict[str, float]:
    metrics = RegressionMetrics()
    for part, right in zip(numbers.split(7), labels.split(7), strict=True):
        metrics.update(part, right)
    return {name: score.item() for name, score in metrics.compute().items()}


def ranks(values: Tensor) -> list[float]:
    """From 1 on; equal values share the mean of their places."""
    each = values.tolist()
    return [sum(o < v for o in each) + (each.count(v) + 1) / 2 for v in each]


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_equals_numpy_and_sklearn_also_with_ties(scale: float) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 6, (60,)) * scale
    numbers = labels + scale * torch.randn(60)
    numbers[:20] = numbers[0]
    assert scores(numbers, labels) == pytest.approx(
        {
            "spearman": np.corrcoef(ranks(numbers), ranks(labels))[0, 1],
            "pearson": np.corrcoef(numbers.double(), labels.double())[0, 1],
            "mse": mean_squared_error(labels, numbers),
        },
        rel=1e-5,
    )


def test_unknown_numbers_do_not_count() -> None:
    labels, numbers = torch.tensor([1.0, math.nan, 3, 4]), torch.tensor([1.0, 9, 2, 4])
    known = torch.tensor([True, False, True, True])
    assert scores(numbers, labels) == scores(numbers[known], labels[known])


@pytest.mark.parametrize("same", ["numbers", "labels"])
def test_what_does_not_vary_correlates_with_nothing(same: str) -> None:
    flat, other = torch.full((5,), 0.3), torch.arange(5.0)
    found = scores(flat, other) if same == "numbers" else scores(other, flat)
    assert (found["spearman"], found["pearson"]) == (0, 0)
    assert found["mse"] == pytest.approx(((flat - other) ** 2).mean().item())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_counted_is_zero() -> None:
    assert set(RegressionMetrics().compute()) == {"spearman", "pearson", "mse"}
    assert all(score == 0 for score in RegressionMetrics().compute().values())


def test_reset_forgets() -> None:
    metrics = RegressionMetrics()
    metrics.update(torch.randn(4), torch.randn(4))
    metrics.reset()
    metrics.update(torch.arange(3.0), torch.arange(3.0))
    assert metrics.compute()["mse"] == 0
