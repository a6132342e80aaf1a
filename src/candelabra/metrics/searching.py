"""Search among many vectors in bounded memory.

Shapes: N vectors, Q queries, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SCORES_AT_A_TIME = 1 << 24
"""Numbers of a block: 64 MiB in float32."""
SAME = 1e-4
"""Squared distance below which two vectors are of one text, in parts of what is usual.

MiniLM on STS-B's test texts: the same text in other batches is at most 1e-12 apart in float32 and
5e-5 in bfloat16; the nearest two texts that differ by a letter, 3e-4.
"""


def blocks(num_queries: int, num_vectors: int) -> Iterator[slice]:
    """Rows of queries whose scores with all vectors fit into a block."""
    step = max(1, SCORES_AT_A_TIME // max(1, num_vectors))
    for begin in range(0, num_queries, step):
        yield slice(begin, min(begin + step, num_queries))


def first_same(vectors_ND: Tensor) -> Tensor:
    """The place of the first vector that is the same, (N); its own where there is none before it.

    The same text gets vectors that differ by rounding, as the padding beside it differs. So two
    are the same whose squared distance is below `SAME` of the vectors' mean squared distance from
    their mean. Measured so, what an encoder gives that says nearly the same of every text is not
    taken for one text; if all vectors are equal, each counts as another.
    """
    centred_ND = vectors_ND.float() - vectors_ND.float().mean(0)
    squares_N = centred_ND.square().sum(1)
    limit = SAME * squares_N.mean() if len(squares_N) else squares_N.sum()
    first_N = torch.arange(len(vectors_ND), device=vectors_ND.device)
    for rows in blocks(len(vectors_ND), len(vectors_ND)):
        apart = centred_ND[rows] @ centred_ND[: rows.stop].T
        apart.mul_(-2).add_(squares_N[: rows.stop]).add_(squares_N[rows, None])
        same = (apart < limit).tril_(rows.start - 1)  # only what stands before a vector
        found = same.any(1).nonzero()[:, 0]
        first_N[rows.start + found] = same[found].int().argmax(1)
    while bool((first_N[first_N] != first_N).any()):  # the first may itself be like an earlier one
        first_N = first_N[first_N]
    return first_N
