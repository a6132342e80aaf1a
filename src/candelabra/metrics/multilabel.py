"""Scores where several labels, or none, may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection
from torchmetrics.classification import MultilabelF1Score

from candelabra.records import IGNORED


class MultiLabelMetrics(MetricCollection):
    """`f1_micro`, of all decisions together, and `f1_macro`, the mean of the labels' F1.

    `update(predictions_BC, labels_BC)` takes 1 or 0 for each label; a label of `IGNORED` (-100)
    does not count. The F1 of a label that neither holds nor was predicted is 0. `compute()` gives
    a dict of scalars from 0 to 1.

    Args:
        labels: The names of the labels in the order of their ids.

    Raises:
        ValueError: There are fewer than two labels.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(labels) < 2:
            raise ValueError(f"several labels need two or more of them; found {list(labels)}")
        # validate_args looks at every value, and so waits for the device in every step.
        settings: dict[str, Any] = {
            "num_labels": len(labels),
            "ignore_index": IGNORED,
            "validate_args": False,
        }
        super().__init__(
            {
                f"f1_{mean}": MultilabelF1Score(average=mean, **settings)
                for mean in ("micro", "macro")
            },
            compute_groups=False,
        )
