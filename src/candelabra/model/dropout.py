"""Dropout by random bits: on a CPU several times faster than a Bernoulli draw for each element.

An element is dropped if the integer in its random bits is below a threshold, and it is set to zero
by a bitwise AND. The bits come from PyTorch's default generator, so a seed decides the mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element -> integer type with as many bits."""
CONFIG_KEYS = {
    "dropout": ("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout"),
}
"""Setting -> its keys in transformers' configurations: BERT and others, DistilBERT, ModernBERT."""


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


class _BitDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """Drop elements with probability `p`, and scale the others."""
        keep, ctx.factor = draw_keep_bits(x.shape, p, x.dtype)
        ctx.save_for_backward(keep)
        return apply_keep_bits_(x * ctx.factor, keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the input, which is 0 for dropped elements."""
        (keep,) = ctx.saved_tensors
        return apply_keep_bits_(grad * ctx.factor, keep), None


class BitDropout(nn.Dropout):
    """Dropout by random bits on a CPU; on other devices the same as `nn.Dropout`.

    The distribution is that of `nn.Dropout` up to the rounding of `p` to 1/65536 for 16-bit
    elements. The same seed gives other masks than `nn.Dropout` does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements at random in training; return the input otherwise."""
        if not self.training or self.p == 0.0:
            return input
        if self.p == 1.0 or input.device.type != "cpu" or input.dtype.itemsize not in INTEGERS:
            return F.dropout(input, self.p)
        dropped: Tensor = _BitDropout.apply(input, self.p)
        return dropped


def use_bit_dropout(module: nn.Module) -> None:
    """Replace every `nn.Dropout` below `module` by a `BitDropout` of the same probability."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, BitDropout(child.p).train(child.training))


def set_rates(config: Any, rates: Mapping[str, float | None]) -> None:
    """Set the dropout probabilities in a configuration of transformers.

    Args:
        config: Configuration of the encoder.
        rates: Key of `CONFIG_KEYS` -> probability; `None` keeps the checkpoint's own.

    Raises:
        ValueError: If a probability is not at least 0 and below 1, or the architecture has no such
            setting.
    """
    for setting, rate in rates.items():
        if rate is None:
            continue
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"{setting} must be at least 0 and below 1, got {rate}")
        keys = [key for key in CONFIG_KEYS[setting] if hasattr(config, key)]
        if not keys:
            raise ValueError(
                f"{setting} must be null for {config.model_type}, which has none of the settings "
                f"{', '.join(CONFIG_KEYS[setting])}; got {rate}"
            )
        for key in keys:
            setattr(config, key, rate)
