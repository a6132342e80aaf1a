"""Metrics of single-label classification.

Shapes: B units of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from candelabra.records import IGNORED


class ClassificationMetrics(MetricCollection):
    """Accuracy and macro F1 of single-label classification.

    `accuracy` is the share of correct predictions. `f1_macro` is the mean F1 over the classes that
    occur or were predicted. `update(predictions_B, labels_B)` takes class ids; examples with the
    label `IGNORED` (-100) are skipped. `compute()` returns a dict of scalars from 0 to 1.

    Args:
        labels: Class names in the order of their ids.

    Raises:
        ValueError: There are fewer than two classes.

    Example:
        >>> import torch
        >>> metrics = ClassificationMetrics(["negative", "positive"])
        >>> metrics.update(torch.tensor([1, 0, 1]), torch.tensor([1, 0, 0]))
        >>> metrics.compute()["accuracy"]
        tensor(0.6667)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(labels) < 2:
            raise ValueError(f"classification needs two or more labels; found {list(labels)}")
        # Argument validation reads every value, which would synchronize with the GPU in each step.
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
