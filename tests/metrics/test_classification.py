from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from candelabra.metrics.classification import ClassificationMetrics
from candelabra.records import IGNORED

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_equals_sklearn(num_classes: int) -> None:
    """Also where some classes occur neither in the labels nor in the predictions."""
    torch.manual_seed(num_classes)
    labels = torch.randint(num_classes, (200,))
    predictions = torch.where(torch.rand(200) < 0.6, labels, torch.randint(num_classes, (200,)))
    metrics = ClassificationMetrics(LABELS)
    for start in range(0, 200, 64):
        metrics.update(predictions[start : start + 64], labels[start : start + 64])
    scores = {name: score.item() for name, score in metrics.compute().items()}
    assert scores == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predictions),
            "f1_macro": f1_score(labels, predictions, average="macro"),
        }
    )


def test_ignored_labels_do_not_count() -> None:
    metrics = ClassificationMetrics(LABELS)
    metrics.update(torch.tensor([0, 1, 2, 3]), torch.tensor([0, IGNORED, 1, IGNORED]))
    scores = metrics.compute()
    assert scores["accuracy"].item() == pytest.approx(1 / 2)
    assert scores["f1_macro"].item() == pytest.approx(1 / 3)


@pytest.mark.filterwarnings("error")
def test_nothing_counted_is_zero() -> None:
    metrics = ClassificationMetrics(LABELS)
    metrics.update(torch.tensor([0, 1]), torch.full((2,), IGNORED))
    assert metrics.compute() == {"accuracy": 0, "f1_macro": 0}


def test_reset_starts_over() -> None:
    metrics = ClassificationMetrics(LABELS)
    metrics.update(torch.tensor([0]), torch.tensor([1]))
    metrics.reset()
    metrics.update(torch.tensor([1]), torch.tensor([1]))
    assert metrics.compute()["accuracy"] == 1


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two or more labels; found \['a'\]"):
        ClassificationMetrics(["a"])
