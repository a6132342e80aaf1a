"""Metrics of regression.

Shapes: B examples of a batch, N examples of all batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional import mean_squared_error

from candelabra.metrics.base import RowMetric
from candelabra.metrics.correlation import correlations


class RegressionMetrics(RowMetric):
    """Correlations and mean squared error of predicted numbers.

    `spearman` and `pearson` are correlations from -1 to 1, and 0 if the predictions or the targets
    are constant. `mse` is the mean squared error. Without examples, all scores are 0.

    Args:
        labels: Ignored.

    Example:
        >>> metrics = RegressionMetrics()
        >>> metrics.update(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> {key: round(float(value), 4) for key, value in metrics.compute().items()}
        {'spearman': 1.0, 'pearson': 0.982, 'mse': 0.3333}
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, numbers_B: Tensor, labels_B: Tensor) -> None:
        """Store the numbers of a batch.

        Args:
            numbers_B: Predicted numbers.
            labels_B: Target numbers. NaN is skipped.
        """
        self.keep(numbers_B[:, None], labels_B)

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores, scalars."""
        found_N1, right_N = self.counted()
        found_N = found_N1.flatten()
        spearman, pearson = correlations(found_N, right_N)
        error = torch.zeros((), dtype=torch.double)
        if len(right_N):
            error = mean_squared_error(found_N.cpu().double(), right_N.cpu().double())
        return {"spearman": spearman, "pearson": pearson, "mse": error}
