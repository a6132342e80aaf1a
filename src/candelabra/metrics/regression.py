"""Scores of predicted numbers.

Shapes: B examples of a batch, N of all batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional import mean_squared_error, pearson_corrcoef, spearman_corrcoef
from torchmetrics.utilities import dim_zero_cat


class RegressionMetrics(Metric):
    """`spearman` and `pearson`, correlations from -1 to 1, and `mse`, the mean squared error.

    A correlation with what does not vary is 0, as are all scores of nothing.

    Args:
        labels: None: numbers have no names.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    pairs: list[Tensor]

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        # A rank correlation is no sum over batches: it needs all numbers.
        # Flat, as torchmetrics takes a process without any numbers.
        self.add_state("pairs", [], dist_reduce_fx="cat")

    def update(self, numbers_B: Tensor, labels_B: Tensor) -> None:
        """Keep the numbers of a batch.

        Args:
            numbers_B: Predicted numbers.
            labels_B: Right numbers; NaN does not count.
        """
        pairs_B2 = torch.stack([numbers_B.float(), labels_B.float()], 1)
        self.pairs.append(pairs_B2[~labels_B.isnan()].flatten())

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars."""
        kept = dim_zero_cat(self.pairs) if len(self.pairs) else torch.empty(0)
        pairs_N2 = kept.view(-1, 2).cpu().double()
        zero = torch.zeros((), dtype=torch.double)
        if not len(pairs_N2):
            return {"spearman": zero, "pearson": zero, "mse": zero}
        # Correlations do not change by it, and torchmetrics warns of what varies little.
        centred_N2 = pairs_N2 - pairs_N2.mean(0)
        spread_2 = centred_N2.abs().amax(0)
        varies, (found_N, right_N) = bool((spread_2 > 0).all()), (centred_N2 / spread_2).T
        return {
            "spearman": spearman_corrcoef(found_N, right_N) if varies else zero,
            "pearson": pearson_corrcoef(found_N, right_N) if varies else zero,
            "mse": mean_squared_error(*pairs_N2.T.contiguous()),
        }
