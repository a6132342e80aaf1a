"""Losses of heads that predict classes, several labels, or a number.

A loss is a function `(logits, targets) -> sum over the counted units` (examples, words, or the
labels of each example). The caller divides by the number of units of the whole optimizer step,
over all processes and micro-batches: a mean of means would be off. A loss that takes `counts` is
given, when a run is built, how often each class stands in the task's train split.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
        ValueError: The shapes do not fit, or `label_smoothing` is no such part.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie between 0 and 1, found {label_smoothing}")
    logits_NC, targets_N = _flat(logits, targets)
    return F.cross_entropy(
        logits_NC,
        targets_N,
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
) -> Tensor:
    """Summed focal loss `-alpha (1 - p)^gamma log p`, in float32 (Lin et al. 2017).

    What is right with confidence counts less: at gamma 2 and p = .9 a hundredth. At gamma 0 it is
    the cross-entropy.

    Args:
        logits: (..., C).
        targets: Class ids (...); `IGNORED` (-100) does not count.
        gamma: How fast easy units lose their say.
        alpha: A factor for each class in the order of the labels; a single number is that of the
            second of two classes, the first gets 1 - alpha; None: 1 for all.

    Raises:
        ValueError: The shapes do not fit, `gamma` is negative, or `alpha` is not one factor for
            each class.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma of the focal loss must be at least 0; found {gamma}")
    logits_NC, targets_N = _flat(logits, targets)
    counted_N = targets_N != IGNORED
    ids_N = targets_N.where(counted_N, 0)
    log_p_N = logits_NC.log_softmax(-1).gather(1, ids_N[:, None])[:, 0]
    # Above 0, where a root would have no slope.
    miss_N = (-log_p_N.expm1()).clamp(min=torch.finfo(log_p_N.dtype).eps)
    loss_N = -miss_N.pow(gamma) * log_p_N
    if alpha is not None:
        factors = [1 - alpha, alpha] if isinstance(alpha, (int, float)) else list(alpha)
        if len(factors) != logits_NC.shape[1]:
            raise ValueError(
                f"alpha of the focal loss must be a factor for each of the {logits_NC.shape[1]} "
                f"classes; found {alpha}"
            )
        loss_N = loss_N * _near(factors, logits_NC)[ids_N]
    return loss_N.masked_fill(~counted_N, 0.0).sum()


def class_balanced(
    logits: Tensor, targets: Tensor, *, counts: Sequence[int], beta: float = 0.999
) -> Tensor:
    """Summed cross-entropy in which rare classes count more, in float32 (Cui et al. 2019).

    A class of n units counts `(1 - beta) / (1 - beta^n)` times, normalised to a mean of 1 over
    the classes that occur.

    Args:
        logits: (..., C).
        targets: Class ids (...); `IGNORED` (-100) does not count.
        counts: Units of each class in the train split; a class without any counts once.
        beta: From 0 (all classes alike) to below 1 (the inverse of n).

    Raises:
        ValueError: The shapes do not fit, or `beta` is out of its range.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta of the class-balanced loss must be from 0 to below 1; found {beta}")
    logits_NC, targets_N = _flat(logits, targets)
    raw = [(1 - beta) / (1 - beta**n) if n else None for n in _checked(counts, logits_NC)]
    seen = [weight for weight in raw if weight is not None]
    factors = [1.0 if weight is None else weight * len(seen) / sum(seen) for weight in raw]
    weight_C = _near(factors, logits_NC)
    return F.cross_entropy(
        logits_NC, targets_N, weight=weight_C, ignore_index=IGNORED, reduction="sum"
    )


def logit_adjustment(
    logits: Tensor, targets: Tensor, *, counts: Sequence[int], tau: float = 1.0
) -> Tensor:
    """Summed cross-entropy of `logits + tau log prior`, in float32 (Menon et al. 2021).

    The plain logits, which answer at inference, then favour no class for being frequent: at tau 1
    they minimise the mean error over classes instead of that over units.

    Args:
        logits: (..., C).
        targets: Class ids (...); `IGNORED` (-100) does not count.
        counts: Units of each class in the train split; a class without any is taken as seen once.
        tau: How much of the prior is taken out; 0 is the cross-entropy.

    Raises:
        ValueError: The shapes do not fit.
    """
    logits_NC, targets_N = _flat(logits, targets)
    counts_C = _near(_checked(counts, logits_NC), logits_NC).clamp(min=1.0)
    adjusted_NC = logits_NC + tau * (counts_C / counts_C.sum()).log()
    return F.cross_entropy(adjusted_NC, targets_N, ignore_index=IGNORED, reduction="sum")


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy of labels that hold or not, each by itself, in float32.

    Args:
        logits: (B, C).
        targets: 1 or 0 for each label (B, C); `IGNORED` (-100) does not count.

    Raises:
        ValueError: The shapes differ, or targets are no whole numbers.
    """
    if logits.shape != targets.shape or targets.is_floating_point():
        raise ValueError(
            "targets must be 1 or 0 for each label, in the shape of logits; found targets "
            f"{tuple(targets.shape)} of {targets.dtype} and logits {tuple(logits.shape)}"
        )
    counted_BC = targets != IGNORED
    holds_BC = targets.where(counted_BC, 0).float()
    loss_BC = F.binary_cross_entropy_with_logits(logits.float(), holds_BC, reduction="none")
    return loss_BC.masked_fill(~counted_BC, 0.0).sum()


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed squared error, in float32.

    Args:
        logits: Predicted numbers (B).
        targets: Right numbers (B); NaN does not count.

    Raises:
        ValueError: The shapes differ, or targets are whole numbers, as class ids are.
    """
    if logits.shape != targets.shape or not targets.is_floating_point():
        raise ValueError(
            "targets must be numbers in the shape of logits; found targets "
            f"{tuple(targets.shape)} of {targets.dtype} and logits {tuple(logits.shape)}"
        )
    error_B = logits.float() - targets.float()
    return error_B.masked_fill(targets.isnan(), 0.0).square().sum()


def _flat(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Units along one axis: float32 logits (N, C) and ids (N)."""
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            "targets must have the shape of logits without its last axis; found targets "
            f"{tuple(targets.shape)} and logits {tuple(logits.shape)}"
        )
    if targets.is_floating_point():
        raise ValueError(f"targets must be class ids; found numbers of {targets.dtype}")
    return logits.float().flatten(0, -2), targets.flatten()


def _checked(counts: Sequence[int], logits_NC: Tensor) -> list[int]:
    if len(counts) != logits_NC.shape[1]:
        raise ValueError(
            f"counts must be of each of the {logits_NC.shape[1]} classes; found {len(counts)}"
        )
    return list(counts)


def _near(values: Sequence[float], logits: Tensor) -> Tensor:
    """A few numbers beside the logits; not waited for."""
    return torch.tensor(values, dtype=logits.dtype).to(logits.device, non_blocking=True)
