"""Published schemes that compute task weights from the Gram matrix of the task gradients.

A scheme is a function `(gram_KK, step) -> weights_K`. `gram_KK[i, j] = g_i . g_j` is the inner
product of the gradients of tasks i and j, in float64 on the CPU. The combined gradient of the step
is `sum weights_i g_i`. `GradientWeighting` removes tasks whose gradient is zero, so the diagonal
is positive. The weights are finite for all angles between gradients. Two tasks have closed-form
solutions here; `gram_many` solves the general case.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from candelabra.weighting import gram_many

SINGULAR = 1e-6
"""Relative eigenvalues below this are rounding errors, since gradients are float32."""


def _pair(gram_KK: Tensor) -> tuple[float, float, float] | None:
    """Return `(|g_1|^2, |g_2|^2, g_1.g_2)` for two tasks, or `None` for any other number.

    Rounding may violate the Cauchy-Schwarz inequality; the inner product is clipped to it.
    """
    if len(gram_KK) != 2:
        return None
    (a, c), (_, b) = gram_KK.tolist()
    bound = math.sqrt(a * b)
    return a, b, min(max(c, -bound), bound)


def pcgrad(gram_KK: Tensor, step: int, *, seed: int = 0) -> Tensor:
    """Compute the weights of PCGrad (Yu et al. 2020).

    Each gradient is projected onto the normal plane of every gradient that it conflicts with, and
    the results are summed. For two tasks the weights are at least 1. Opposite gradients get the
    weights `1 + |g_j| / |g_i|`, for which the combined gradient is zero.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Index of the optimizer step.
        seed: Seed that, with `step`, determines the order of projections of three or more tasks.

    Example:
        >>> pcgrad(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), step=0)
        tensor([1.5000, 1.5000])
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.pcgrad(gram_KK, step, seed=seed)
    a, b, c = pair
    return gram_KK.new_tensor((1 - c / a, 1 - c / b) if c < 0 else (1.0, 1.0))


def upgrad(gram_KK: Tensor, step: int) -> Tensor:
    """Compute the weights of UPGrad (Quinton & Rey 2024).

    Each gradient is projected onto the dual cone of all gradients, and the results are averaged.
    For two tasks, the weights are half of PCGrad's.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.

    Example:
        >>> upgrad(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), step=0)
        tensor([0.7500, 0.7500])
    """
    return gram_many.upgrad(gram_KK) if len(gram_KK) != 2 else pcgrad(gram_KK, step) / 2


def mgda(gram_KK: Tensor, step: int) -> Tensor:
    """Compute the weights of MGDA: the shortest vector in the convex hull (Sener & Koltun 2018).

    The weights sum to 1. Two equal gradients get 1/2 each, the combined gradient of two opposite
    gradients is zero, and of two parallel gradients the shorter one gets all the weight.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.

    Example:
        >>> mgda(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), step=0)
        tensor([0.2500, 0.7500])
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.mgda(gram_KK)
    a, b, c = pair
    between = a + b - 2 * c
    first = min(max((b - c) / between, 0.0), 1.0) if between > 0 else 0.5
    return gram_KK.new_tensor((first, 1 - first))


def imtl_g(gram_KK: Tensor, step: int) -> Tensor:
    """Compute the weights of IMTL-G: equal projections onto all gradients (Liu et al. 2021).

    The weights sum to 1. For two tasks, they do not depend on the angle. If three or more
    gradients have no such direction, all weights are 1/K.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.

    Example:
        >>> imtl_g(torch.tensor([[9.0, 0.0], [0.0, 1.0]]), step=0)
        tensor([0.2500, 0.7500])
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.imtl_g(gram_KK)
    first, second = math.sqrt(pair[0]), math.sqrt(pair[1])
    return gram_KK.new_tensor((second, first)) / (first + second)


def nash(gram_KK: Tensor, step: int, *, max_norm: float = math.inf) -> Tensor:
    """Compute the weights of Nash-MTL: the bargaining solution `G w = 1 / w` (Navon et al. 2022).

    For two tasks, the combined gradient has the direction of IMTL-G. Its norm is `sqrt(K)` for
    gradients of any length. The weights diverge as gradients become opposite; two tasks' cosine is
    therefore limited to at least -1 + 1e-6.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.
        max_norm: Maximum norm of the combined gradient. The authors' code uses 1.

    Raises:
        ValueError: `max_norm` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, got {max_norm}")
    pair = _pair(gram_KK)
    if pair is None:
        weights_K = gram_many.nash(gram_KK, ridge=SINGULAR)
    else:
        a, b, c = pair
        apart = math.sqrt(max(1 + c / math.sqrt(a * b), SINGULAR))
        weights_K = gram_KK.new_tensor((1 / math.sqrt(a), 1 / math.sqrt(b))) / apart
    length = math.sqrt(max(float(weights_K @ gram_KK @ weights_K), 0.0))
    return weights_K * (max_norm / length) if length > max_norm else weights_K


def aligned(gram_KK: Tensor, step: int) -> Tensor:
    """Compute the weights of Aligned-MTL (Senushkin et al. 2023).

    The gradients are made orthogonal and equally long, and then averaged. The weights are
    `sqrt(lam) G^(-1/2) 1 / K`, where `lam` is the smallest eigenvalue of the Gram matrix G. Zero
    eigenvalues, as of parallel or opposite gradients, are dropped, which keeps the weights finite.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.
    """
    eigenvalues_K, vectors_KK = torch.linalg.eigh(gram_KK)
    kept_K = eigenvalues_K > SINGULAR * eigenvalues_K.max()
    eigenvalues_R, vectors_KR = eigenvalues_K[kept_K], vectors_KK[:, kept_K]
    scales_R = (eigenvalues_R.min() / eigenvalues_R).sqrt()
    return (vectors_KR * scales_R @ vectors_KR.T).mean(dim=1)


def cagrad(gram_KK: Tensor, step: int, *, radius: float = 0.5) -> Tensor:
    """Compute the weights of CAGrad (Liu et al. 2021).

    CAGrad maximizes the smallest improvement over tasks within a ball around the mean gradient
    `g_0`. The weights are `1/K + radius |g_0| / |g_x| x`, where x lies on the simplex and
    minimizes `g_x.g_0 + radius |g_0| |g_x|` with `g_x = sum x_i g_i`. If `g_x` is zero, as for
    opposite gradients, all weights are 1/K.

    Args:
        gram_KK: Gram matrix of the gradients.
        step: Ignored.
        radius: Radius of the ball relative to `|g_0|`, the paper's c. 0 gives the mean gradient, a
            large value the direction of MGDA.

    Raises:
        ValueError: `radius` is negative.
    """
    if not radius >= 0:
        raise ValueError(f"radius must be 0 or more, got {radius}")
    num = len(gram_KK)
    mean_K = gram_KK.new_full((num,), 1 / num)
    ball = radius * math.sqrt(max(float(mean_K @ gram_KK @ mean_K), 0.0))
    pair = _pair(gram_KK)
    x_K = _cagrad_pair(*pair, ball) if pair else gram_many.cagrad(gram_KK, ball)
    x_K = torch.as_tensor(x_K, dtype=gram_KK.dtype)
    square = float(x_K @ gram_KK @ x_K)
    if square <= SINGULAR**2 * float(gram_KK.trace()):
        return mean_K
    return mean_K + ball / math.sqrt(square) * x_K


def _cagrad_pair(a: float, b: float, c: float, ball: float) -> tuple[float, float]:
    """Return `(x, 1 - x)` for the minimizer x of CAGrad's objective for two tasks.

    The objective is `slope x + ball sqrt(curve (x - vertex)^2 + least)` over x in [0, 1].
    """
    slope, curve = (a - b) / 2, a + b - 2 * c
    if curve <= 0:
        return 0.5, 0.5
    vertex, least = (b - c) / curve, max((a * b - c * c) / curve, 0.0)
    steep = ball * ball * curve - slope * slope
    if steep <= 0:  # The linear term dominates, so the minimum is an end of [0, 1].
        x = 0.0 if slope > 0 else 1.0
    else:
        x = vertex - math.copysign(abs(slope) * math.sqrt(least / (curve * steep)), slope)
    x = min(max(x, 0.0), 1.0)
    return x, 1 - x
