"""How two rows of numbers go together.

Shapes: N pairs of numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef


def correlations(found_N: Tensor, right_N: Tensor) -> tuple[Tensor, Tensor]:
    """Spearman's and Pearson's correlation, scalars from -1 to 1 in double precision.

    Either is 0 where one of the rows does not vary, or is empty.
    """
    pairs_2N = torch.stack([found_N, right_N]).cpu().double()
    if not pairs_2N.numel():
        return torch.zeros((), dtype=torch.double), torch.zeros((), dtype=torch.double)
    return _pearson(torch.stack([ranks(row_N) for row_N in pairs_2N])), _pearson(pairs_2N)


def ranks(values_N: Tensor) -> Tensor:
    """Places from 1 on in double precision; equal values share the mean of their places.

    torchmetrics sums places in 32 bits, which some 65,000 equal values overflow.
    """
    _, group_N, sizes = values_N.unique(return_inverse=True, return_counts=True)
    return (sizes.cumsum(0) - (sizes - 1) / 2).double()[group_N]


def _pearson(pairs_2N: Tensor) -> Tensor:
    # A correlation does not change by it, and torchmetrics warns of what varies little.
    centred_2N = pairs_2N - pairs_2N.mean(1, keepdim=True)
    spread_2 = centred_2N.abs().amax(1, keepdim=True)
    if not bool((spread_2 > 0).all()):
        return torch.zeros((), dtype=torch.double)
    return pearson_corrcoef(*(centred_2N / spread_2))
