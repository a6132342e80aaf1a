"""Losses for heads that predict classes, multiple labels, or a number.

A loss is a function `(logits, targets)` that returns the sum over all units (examples, words, or
the labels of each example). The caller divides by the number of units in the whole optimizer step,
over all processes and micro-batches, because a mean of unequal batches' means would be biased. A
loss with a `counts` parameter receives the number of units per class in the task's train split.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.records import IGNORED


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Compute the summed cross-entropy in float32.

    Args:
        logits: Logits (..., C), for example (B, C) or (B, W, C).
        targets: Class ids (...). `IGNORED` (-100) is skipped.
        label_smoothing: Share of the probability mass, from 0 to 1, that is spread evenly over all
            classes (Szegedy et al. 2016).

    Returns:
        A scalar. If all targets are ignored, 0 with zero gradients.

    Raises:
        ValueError: The shapes do not match, or `label_smoothing` is out of range.

    Example:
        >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, 1, -100]))  # 2 log 2
        tensor(1.3863)
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
    """Compute the summed focal loss `-alpha (1 - p)^gamma log p` in float32 (Lin et al. 2017).

    Here p is the probability of the correct class. Confident correct predictions are
    down-weighted: with gamma = 2 and p = 0.9 by a factor of 100. With gamma = 0 the loss is the
    cross-entropy.

    Args:
        logits: Logits (..., C).
        targets: Class ids (...). `IGNORED` (-100) is skipped.
        gamma: Focusing parameter, 0 or more. Larger values reduce the loss of easy units further.
        alpha: One factor per class, in label order. A single number is the factor of the second of
            two classes, and the first gets 1 - alpha. `None` means 1 for all classes.

    Raises:
        ValueError: The shapes do not match, `gamma` is negative, or `alpha` does not have one
            factor per class.

    Example:
        >>> focal(torch.zeros(1, 2), torch.tensor([0]))  # 0.5^2 log 2
        tensor(0.1733)
    """
    if not gamma >= 0:
        raise ValueError(f"gamma of the focal loss must be at least 0; found {gamma}")
    logits_NC, targets_N = _flat(logits, targets)
    counted_N = targets_N != IGNORED
    ids_N = targets_N.where(counted_N, 0)
    log_p_N = logits_NC.log_softmax(-1).gather(1, ids_N[:, None])[:, 0]
    # A power below 1 has an infinite derivative at 0.
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
    """Compute the summed class-balanced cross-entropy in float32 (Cui et al. 2019).

    A class with n train units is weighted by `(1 - beta) / (1 - beta^n)`. The weights are
    normalized to a mean of 1 over the classes that occur in the train split.

    Args:
        logits: Logits (..., C).
        targets: Class ids (...). `IGNORED` (-100) is skipped.
        counts: Number of units per class in the train split. A class with none has weight 1.
        beta: From 0 (equal weights) to below 1 (weights approach the inverse frequency 1 / n).

    Raises:
        ValueError: The shapes do not match, or `beta` is out of range.

    Example:
        >>> class_balanced(torch.zeros(1, 2), torch.tensor([1]), counts=[300, 100], beta=0.99)
        tensor(0.8318)
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
    """Compute the summed cross-entropy of `logits + tau log prior` in float32.

    Training with the class prior added, and predicting from the plain logits, removes the
    preference for frequent classes. With tau = 1 the predictions minimize the error averaged over
    classes instead of over units (Menon et al. 2021).

    Args:
        logits: Logits (..., C).
        targets: Class ids (...). `IGNORED` (-100) is skipped.
        counts: Number of units per class in the train split. 0 is treated as 1.
        tau: Strength of the adjustment. 0 gives the cross-entropy.

    Raises:
        ValueError: The shapes do not match.

    Example:
        >>> logit_adjustment(torch.zeros(1, 2), torch.tensor([1]), counts=[3, 1])  # log 4
        tensor(1.3863)
    """
    logits_NC, targets_N = _flat(logits, targets)
    counts_C = _near(_checked(counts, logits_NC), logits_NC).clamp(min=1.0)
    adjusted_NC = logits_NC + tau * (counts_C / counts_C.sum()).log()
    return F.cross_entropy(adjusted_NC, targets_N, ignore_index=IGNORED, reduction="sum")


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the summed binary cross-entropy of independent labels in float32.

    Args:
        logits: Logits (B, C).
        targets: 1 or 0 for each label (B, C). `IGNORED` (-100) is skipped.

    Raises:
        ValueError: The shapes differ, or the targets are not integers.

    Example:
        >>> binary_cross_entropy(torch.zeros(1, 3), torch.tensor([[1, 0, -100]]))  # 2 log 2
        tensor(1.3863)
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
    """Compute the summed squared error in float32.

    Args:
        logits: Predicted numbers (B).
        targets: Target numbers (B). NaN is skipped.

    Raises:
        ValueError: The shapes differ, or the targets are integers, as class ids are.

    Example:
        >>> squared_error(torch.tensor([1.0, 2.0]), torch.tensor([3.0, float("nan")]))
        tensor(4.)
    """
    if logits.shape != targets.shape or not targets.is_floating_point():
        raise ValueError(
            "targets must be numbers in the shape of logits; found targets "
            f"{tuple(targets.shape)} of {targets.dtype} and logits {tuple(logits.shape)}"
        )
    error_B = logits.float() - targets.float()
    return error_B.masked_fill(targets.isnan(), 0.0).square().sum()


def _flat(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten all units into one axis: float32 logits (N, C) and class ids (N)."""
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
    """Copy a few numbers to the device of the logits without waiting for the transfer."""
    return torch.tensor(values, dtype=logits.dtype).to(logits.device, non_blocking=True)
