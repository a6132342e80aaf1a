"""Metrics of multi-label classification, where an example has any number of labels.

Shapes: B examples of a batch, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection
from torchmetrics.classification import MultilabelF1Score

from candelabra.records import IGNORED


class MultiLabelMetrics(MetricCollection):
    """Micro and macro F1 of multi-label classification.

    `f1_micro` is the F1 over all decisions together, `f1_macro` the mean F1 over labels. The F1 of
    a label that neither occurs nor was predicted is 0. `update(predictions_BC, labels_BC)` takes 1
    or 0 for each label; entries with the label `IGNORED` (-100) are skipped. `compute()` returns a
    dict of scalars from 0 to 1.

    Args:
        labels: Label names in the order of their ids.

    Raises:
        ValueError: There are fewer than two labels.

    Example:
        >>> import torch
        >>> metrics = MultiLabelMetrics(["funny", "long"])
        >>> metrics.update(torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metrics.compute()["f1_micro"]
        tensor(0.8000)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(labels) < 2:
            raise ValueError(f"several labels need two or more of them; found {list(labels)}")
        # Argument validation reads every value, which would synchronize with the GPU in each step.
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
