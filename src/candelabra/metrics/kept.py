"""What metrics keep that are no sums over batches.

Shapes: B examples of a batch, N of all batches, W numbers of an example.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from candelabra.records import IGNORED


class KeptRows(Metric):
    """Keeps a row of numbers and the label of every example, over all batches and processes.

    Class ids other than `IGNORED` (-100) count, and numbers other than NaN.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    kept: list[Tensor]
    width: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Flat, as torchmetrics takes a process without any rows; which knows no width either.
        self.add_state("kept", [], dist_reduce_fx="cat")
        self.add_state("width", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def keep(self, values_BW: Tensor, labels_B: Tensor) -> None:
        """Keeps a batch; what does not count is left out later, as that waits for the device."""
        rows = torch.cat([values_BW.float(), numbers(labels_B)[:, None]], 1)
        self.kept.append(rows.flatten())
        self.width = torch.full_like(self.width, rows.shape[1])

    def counted(self) -> tuple[Tensor, Tensor]:
        """The values (N, W) and labels (N) of the examples that count; (0, 0) of nothing."""
        if not len(self.kept) or not int(self.width):
            return torch.empty(0, 0, device=self.device), torch.empty(0, device=self.device)
        rows = dim_zero_cat(self.kept).view(-1, int(self.width))
        rows = rows[~rows[:, -1].isnan()]
        return rows[:, :-1], rows[:, -1]


def numbers(labels_B: Tensor) -> Tensor:
    """Labels as numbers; NaN stands for what does not count."""
    if labels_B.is_floating_point():
        return labels_B.float()
    return labels_B.float().masked_fill(labels_B == IGNORED, math.nan)
