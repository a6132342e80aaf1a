"""Dropout by random bits: on a CPU several times faster than a Bernoulli draw for each element.

An element is dropped if the integer in its random bits is below a threshold, and it is set to zero
by a bitwise AND. The bits come from PyTorch's default generator, so a seed decides the mask.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element -> integer type with as many bits."""


def draw_keep_bits(shape: torch.Size, p: float, dtype: torch.dtype) -> tuple[Tensor, float]:
    """Draw a mask that is applied by a bitwise AND.

    Args:
        shape: Shape of the mask.
        p: Probability that an element is dropped; it is rounded to the bits of an element.
        dtype: Floating-point type of the tensor that the mask is for.

    Returns:
        Integers of the width of `dtype`: all bits 1 where an element is kept, all bits 0 where it
        is dropped. And the factor that keeps the expected value, from the rounded probability.

    Raises:
        ValueError: If `p` is not between 0 and 1.
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must be at least 0 and below 1, got {p}")
    integer = INTEGERS[dtype.itemsize]
    size, num_values = math.prod(shape), 2 ** (8 * dtype.itemsize)
    dropped = min(round(p * num_values), num_values - 1)
    if dropped == 0:
        return torch.full(shape, -1, dtype=integer), 1.0
    words = torch.empty(-(-size * dtype.itemsize // 8), dtype=torch.int64)
    # Without an upper bound every one of the 64 bits is random.
    bits = words.random_(-(2**63), None).view(integer)[:size].view(shape)
    last_dropped = dropped - 1 - num_values // 2
    # Two passes over integers; a comparison and its cast to integers take five times as long.
    keep = torch.sub(last_dropped, bits.clamp_(last_dropped, last_dropped + 1))
    return keep, num_values / (num_values - dropped)


def apply_keep_bits_(x: Tensor, keep: Tensor) -> Tensor:
    """Set the dropped elements of `x` to zero, in place."""
    x.view(keep.dtype).bitwise_and_(keep)
    return x
