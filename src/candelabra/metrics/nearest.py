"""Search among many vectors in bounded memory.

Shapes: N vectors, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SCORES_AT_A_TIME = 1 << 24
"""Maximum number of similarities computed at a time: 64 MiB in float32."""
SAME = 1e-4
"""Relative squared distance below which two vectors are considered embeddings of the same text.

The distance is relative to the mean squared distance of the vectors from their mean. For MiniLM
and the test texts of STS-B, embeddings of the same text in different batches differ by at most
1e-12 in float32 and 5e-5 in bfloat16. The nearest two texts that differ by one letter are 3e-4
apart.
"""


def blocks(num_queries: int, num_vectors: int) -> Iterator[slice]:
    """Yield slices of queries whose similarities to all vectors fit into the memory limit.

    Args:
        num_queries: Number of queries.
        num_vectors: Number of vectors that each query is compared with.

    Yields:
        Consecutive slices that cover all queries. Each has at least one query.

    Example:
        >>> list(blocks(3, 2**23))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    step = max(1, SCORES_AT_A_TIME // max(1, num_vectors))
    for begin in range(0, num_queries, step):
        yield slice(begin, min(begin + step, num_queries))


def first_same(vectors_ND: Tensor) -> Tensor:
    """Find, for each vector, the first vector that embeds the same text.

    Embeddings of the same text differ by rounding, because the padding differs between batches.
    Two vectors are therefore considered the same if their squared distance is below `SAME` times
    the mean squared distance of all vectors from their mean. Because this threshold is relative,
    the texts of an encoder with nearly constant embeddings remain distinct. If all vectors are
    exactly equal, all are considered different.

    Args:
        vectors_ND: Embeddings.

    Returns:
        Indices (N). A vector with no equal vector before it gets its own index.

    Example:
        >>> first_same(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        tensor([0, 1, 0])
    """
    centred_ND = vectors_ND.float() - vectors_ND.float().mean(0)
    squares_N = centred_ND.square().sum(1)
    limit = SAME * squares_N.mean() if len(squares_N) else squares_N.sum()
    first_N = torch.arange(len(vectors_ND), device=vectors_ND.device)
    for rows in blocks(len(vectors_ND), len(vectors_ND)):
        apart = centred_ND[rows] @ centred_ND[: rows.stop].T
        apart.mul_(-2).add_(squares_N[: rows.stop]).add_(squares_N[rows, None])
        same = (apart < limit).tril_(rows.start - 1)  # Compare only with earlier vectors.
        found = same.any(1).nonzero()[:, 0]
        first_N[rows.start + found] = same[found].int().argmax(1)
    # Follow chains: the first equal vector may itself be equal to an earlier one.
    while bool((first_N[first_N] != first_N).any()):
        first_N = first_N[first_N]
    return first_N
