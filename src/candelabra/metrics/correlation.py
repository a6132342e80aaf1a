"""Correlation coefficients.

Shapes: N pairs of numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef


def correlations(found_N: Tensor, right_N: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the Spearman and the Pearson correlation of two sequences.

    Args:
        found_N: Predicted numbers.
        right_N: Target numbers.

    Returns:
        Spearman and Pearson correlation, float64 scalars from -1 to 1. Both are 0 if a sequence is
        constant or empty.

    Example:
        >>> correlations(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0]))
        (tensor(1., dtype=torch.float64), tensor(0.9897, dtype=torch.float64))
    """
    pairs_2N = torch.stack([found_N, right_N]).cpu().double()
    if not pairs_2N.numel():
        return torch.zeros((), dtype=torch.double), torch.zeros((), dtype=torch.double)
    return _pearson(torch.stack([ranks(row_N) for row_N in pairs_2N])), _pearson(pairs_2N)


def ranks(values_N: Tensor) -> Tensor:
    """Compute the rank of each value, from 1, in float64. Equal values share their mean rank.

    torchmetrics sums ranks in 32 bits, which overflows for about 65,000 equal values.

    Example:
        >>> ranks(torch.tensor([0.3, 0.1, 0.3]))
        tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)
    """
    _, group_N, sizes = values_N.unique(return_inverse=True, return_counts=True)
    return (sizes.cumsum(0) - (sizes - 1) / 2).double()[group_N]


def _pearson(pairs_2N: Tensor) -> Tensor:
    # torchmetrics warns about small variances. Standardizing does not change a correlation.
    centred_2N = pairs_2N - pairs_2N.mean(1, keepdim=True)
    spread_2 = centred_2N.abs().amax(1, keepdim=True)
    if not bool((spread_2 > 0).all()):
        return torch.zeros((), dtype=torch.double)
    return pearson_corrcoef(*(centred_2N / spread_2))
