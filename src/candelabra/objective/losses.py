"""Losses of heads that predict classes.

A loss is a function `(logits, targets) -> sum over the counted units` (examples or words). The
caller divides by the number of units of the whole optimizer step, over all processes and
micro-batches: a mean of means would be off.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from candelabra.records import IGNORED


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy, in float32.

    Args:
        logits: (..., C), for example (B, C) or (B, W, C).
        targets: Class ids (...); `IGNORED` (-100) does not count.
        label_smoothing: The part of the probability, 0 to 1, that is spread evenly over all
            classes (Szegedy et al. 2016).

    Returns:
        A scalar; 0, still with gradients (zeros), where nothing counts.

    Raises:
        ValueError: The shapes do not fit.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            "targets must have the shape of logits without its last axis; found targets "
            f"{tuple(targets.shape)} and logits {tuple(logits.shape)}"
        )
    return F.cross_entropy(
        logits.float().flatten(0, -2),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
