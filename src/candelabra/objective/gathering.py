"""Embeddings of all processes, for losses that compare examples with each other.

Shapes: B examples of this process, N of all, K texts of each, D width of an embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def gathered(
    embeddings_BKD: Tensor, labels_B: Tensor, num_examples: int
) -> tuple[Tensor, Tensor, int]:
    """The examples of a step from all processes, with the gradient of this process' own.

    Every process then computes the same loss of them all. The gradient of its own embeddings is
    multiplied by the number of processes: DistributedDataParallel takes the mean over processes
    that have each a part of it, where the sum is wanted.

    Args:
        embeddings_BKD: Of this process.
        labels_B: Of this process.
        num_examples: N, the examples of the step; process r of W has every W-th, from the r-th on,
            or a single one that does not count where that is none.

    Returns:
        embeddings_NKD, labels_N, and the number of processes.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return embeddings_BKD, labels_B, 1
    rank, world = distributed.get_rank(), distributed.get_world_size()
    sizes = [len(range(num_examples)[place::world]) for place in range(world)]
    own_BKD = embeddings_BKD[: sizes[rank]].clone()
    if own_BKD.requires_grad:
        own_BKD.register_hook(lambda gradient: gradient * world)
    others = _all(embeddings_BKD.detach(), max(sizes))
    parts = [part[:size] for part, size in zip(others, sizes, strict=True)]
    parts[rank] = own_BKD
    labels = [part[:size] for part, size in zip(_all(labels_B, max(sizes)), sizes, strict=True)]
    return torch.cat(parts), torch.cat(labels), world


def _all(tensor: Tensor, size: int) -> list[Tensor]:
    """What each process has, filled up to `size` rows."""
    filled = tensor.new_zeros((size, *tensor.shape[1:]))
    filled[: len(tensor)] = tensor[:size]
    found = [torch.empty_like(filled) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, filled)
    return found
