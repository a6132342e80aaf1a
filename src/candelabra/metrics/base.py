"""State of metrics that need all examples at once and cannot be computed from sums over batches.

Shapes: B examples of a batch, N examples of all batches, W numbers per example.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from candelabra.records import IGNORED


class RowMetric(Metric):
    """Base class of metrics that store numbers and a label for each example.

    Rows are gathered over all batches and processes. Examples whose label is `IGNORED` (-100) or
    NaN are skipped.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    kept: list[Tensor]
    width: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Rows are stored flat because torchmetrics requires a 1-D state on a process without rows.
        # Such a process does not know the width of a row either.
        self.add_state("kept", [], dist_reduce_fx="cat")
        self.add_state("width", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def keep(self, values_BW: Tensor, labels_B: Tensor) -> None:
        """Store a batch, including skipped examples.

        Removing these would synchronize with the GPU in each step, so `counted` does it.

        Args:
            values_BW: Numbers of each example.
            labels_B: Class ids or target numbers.
        """
        rows = torch.cat([values_BW.float(), numbers(labels_B)[:, None]], 1)
        self.kept.append(rows.flatten())
        self.width = torch.full_like(self.width, rows.shape[1])

    def counted(self) -> tuple[Tensor, Tensor]:
        """Return the values (N, W) and labels (N) of all examples with a label.

        If nothing was stored, the shapes are (0, 0) and (0).
        """
        if not len(self.kept) or not int(self.width):
            return torch.empty(0, 0, device=self.device), torch.empty(0, device=self.device)
        rows = dim_zero_cat(self.kept).view(-1, int(self.width))
        rows = rows[~rows[:, -1].isnan()]
        return rows[:, :-1], rows[:, -1]


def numbers(labels_B: Tensor) -> Tensor:
    """Convert labels to float32, with NaN for examples to be skipped.

    Example:
        >>> numbers(torch.tensor([1, -100]))
        tensor([1., nan])
    """
    if labels_B.is_floating_point():
        return labels_B.float()
    return labels_B.float().masked_fill(labels_B == IGNORED, math.nan)
