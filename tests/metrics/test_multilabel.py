from __future__ import annotations

import pytest
import torch
from sklearn.metrics import f1_score

from candelabra.metrics.multilabel import MultiLabelMetrics
from candelabra.records import IGNORED

LABELS = ["a", "b", "c", "d"]


def scores(predictions: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    metrics = MultiLabelMetrics(LABELS)
    for part, right in zip(predictions.split(7), labels.split(7), strict=True):
        metrics.update(part, right)
    return {name: score.item() for name, score in metrics.compute().items()}


def test_equals_sklearn() -> None:
    """The last label neither holds nor is predicted."""
    torch.manual_seed(0)
    labels, predictions = torch.randint(2, (2, 60, 4))
    labels[:, 3] = predictions[:, 3] = 0
    expected = {
        f"f1_{mean}": f1_score(labels, predictions, average=mean, zero_division=0)
        for mean in ("micro", "macro")
    }
    assert scores(predictions, labels) == pytest.approx(expected)


def test_unknown_labels_do_not_count() -> None:
    torch.manual_seed(1)
    labels, predictions = torch.randint(2, (2, 60, 4))
    known = torch.rand(60, 4) < 0.7
    expected = f1_score(labels[known], predictions[known])
    each = [f1_score(labels[known[:, c], c], predictions[known[:, c], c]) for c in range(4)]
    found = scores(predictions, labels.masked_fill(~known, IGNORED))
    assert found == pytest.approx({"f1_micro": expected, "f1_macro": sum(each) / 4})


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_counted_is_zero() -> None:
    assert {name: s.item() for name, s in MultiLabelMetrics(LABELS).compute().items()} == {
        "f1_micro": 0.0,
        "f1_macro": 0.0,
    }


def test_one_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two or more of them; found \['a'\]"):
        MultiLabelMetrics(["a"])
