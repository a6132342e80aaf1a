"""Scores of predicted numbers.

Shapes: B examples of a batch, N of all batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional import mean_squared_error

from candelabra.metrics.correlation import correlations
from candelabra.metrics.kept import KeptRows


class RegressionMetrics(KeptRows):
    """`spearman` and `pearson`, correlations from -1 to 1, and `mse`, the mean squared error.

    A correlation with what does not vary is 0, as are all scores of nothing.

    Args:
        labels: None: numbers have no names.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, numbers_B: Tensor, labels_B: Tensor) -> None:
        """Keep the numbers of a batch.

        Args:
            numbers_B: Predicted numbers.
            labels_B: Right numbers; NaN does not count.
        """
        self.keep(numbers_B[:, None], labels_B)

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars."""
        found_N1, right_N = self.counted()
        found_N = found_N1.flatten()
        spearman, pearson = correlations(found_N, right_N)
        error = torch.zeros((), dtype=torch.double)
        if len(right_N):
            error = mean_squared_error(found_N.cpu().double(), right_N.cpu().double())
        return {"spearman": spearman, "pearson": pearson, "mse": error}
