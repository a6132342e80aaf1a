"""Gathering of embeddings across processes, for losses that compare examples with each other.

Shapes: B examples on this process, N examples on all processes, K texts per example, D embedding
width.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def all_gather(
    embeddings_BKD: Tensor, labels_B: Tensor, num_examples: int
) -> tuple[Tensor, Tensor, int]:
    """Gather the examples of an optimizer step from all processes.

    Every process then computes the same loss over all examples, but only the embeddings of its own
    examples carry gradients. DistributedDataParallel averages gradients over processes, where the
    sum of these parts is needed; hence the gradient of the local embeddings is multiplied by the
    number of processes.

    Args:
        embeddings_BKD: Embeddings of this process.
        labels_B: Labels of this process.
        num_examples: N, the number of examples in the step. Process r of W holds the examples r,
            r + W, r + 2W, ...; if there are none, it holds one placeholder that is dropped.

    Returns:
        `embeddings_NKD`, `labels_N`, and the number of processes. Without an initialized process
        group, the inputs and 1.

    Example:
        >>> found = all_gather(torch.ones(2, 1, 4), torch.tensor([0, 1]), num_examples=2)
        >>> found[0].shape, found[1:]  # without a process group
        (torch.Size([2, 1, 4]), (tensor([0, 1]), 1))
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
    """Gather a tensor from every process, each padded with zeros to `size` rows."""
    filled = tensor.new_zeros((size, *tensor.shape[1:]))
    filled[: len(tensor)] = tensor[:size]
    found = [torch.empty_like(filled) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, filled)
    return found
