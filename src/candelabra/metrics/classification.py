"""Scores of single-label classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from candelabra.records import IGNORED


class ClassificationMetrics(MetricCollection):
    """`accuracy`, and `f1_macro`: the mean F1 of the classes that occur or were predicted.

    `update(predictions_B, labels_B)` takes class ids; a label of `IGNORED` (-100) does not count.
    `compute()` gives a dict of scalars from 0 to 1.

    Args:
        labels: The names of the classes in the order of their ids.

    Raises:
        ValueError: There are fewer than two classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(labels) < 2:
            raise ValueError(f"classification needs two or more labels; found {list(labels)}")
        # validate_args looks at every value, and so waits for the device in every step.
        settings: dict[str, Any] = {
            "num_classes": len(labels),
            "ignore_index": IGNORED,
            "validate_args": False,
        }
        super().__init__(
            {
                "accuracy": MulticlassAccuracy(average="micro", **settings),
                "f1_macro": MulticlassF1Score(average="macro", **settings),
            },
            compute_groups=False,
        )
