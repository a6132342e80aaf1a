"""Gram matrices of the tasks' gradients -> one weight a task: the published schemes.

A scheme is a function `(gram_KK, step) -> weights_K`: `gram_KK[i, j] = g_i . g_j`, float64 on the
CPU, and the step's combined gradient is `sum weights_i g_i`. `GradientWeighting` leaves out tasks
whose gradient is zero, so a scheme meets positive diagonals only; whatever the angles, its weights
are finite. Two tasks have closed forms here, more tasks the solvers of `gram_many`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from candelabra.objective.weighting import gram_many

SINGULAR = 1e-6
"""Gram matrices are summed in float32: relative eigenvalues below this are rounding."""


def _pair(gram_KK: Tensor) -> tuple[float, float, float] | None:
    """`(|g_1|^2, |g_2|^2, g_1.g_2)` of two tasks; the last kept within Cauchy and Schwarz."""
    if len(gram_KK) != 2:
        return None
    (a, c), (_, b) = gram_KK.tolist()
    bound = math.sqrt(a * b)
    return a, b, min(max(c, -bound), bound)


def pcgrad(gram_KK: Tensor, step: int, *, seed: int = 0) -> Tensor:
    """Each gradient is projected off those it conflicts with (Yu et al. 2020), then all are summed.

    Weights are 1 or more; opposite gradients give `1 + |g_j| / |g_i|`, whose sum is zero.

    Args:
        gram_KK: Gram matrix.
        step: The optimizer step.
        seed: With `step`, gives the order of the projections; of no influence for two tasks.
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.pcgrad(gram_KK, step, seed=seed)
    a, b, c = pair
    return gram_KK.new_tensor((1 - c / a, 1 - c / b) if c < 0 else (1.0, 1.0))


def upgrad(gram_KK: Tensor, step: int) -> Tensor:
    """The mean of the gradients, each projected onto the dual cone (Quinton & Rey 2024).

    For two tasks half of PCGrad's weights, also where the gradients are opposite.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
    """
    return gram_many.upgrad(gram_KK) if len(gram_KK) != 2 else pcgrad(gram_KK, step) / 2


def mgda(gram_KK: Tensor, step: int) -> Tensor:
    """The shortest vector in the gradients' convex hull (Sener & Koltun 2018).

    Weights sum to 1. Equal gradients get 1/2 each; opposite ones sum to zero; the shorter of two
    parallel ones gets all.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.mgda(gram_KK)
    a, b, c = pair
    between = a + b - 2 * c
    first = min(max((b - c) / between, 0.0), 1.0) if between > 0 else 0.5
    return gram_KK.new_tensor((first, 1 - first))


def imtl_g(gram_KK: Tensor, step: int) -> Tensor:
    """The direction with equal projections on all gradients (Liu et al. 2021, IMTL-G).

    Weights sum to 1 and, for two tasks, do not depend on the angle. Of more than two tasks whose
    gradients have no such direction all get 1/K.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
    """
    pair = _pair(gram_KK)
    if pair is None:
        return gram_many.imtl_g(gram_KK)
    first, second = math.sqrt(pair[0]), math.sqrt(pair[1])
    return gram_KK.new_tensor((second, first)) / (first + second)


def nash(gram_KK: Tensor, step: int, *, max_norm: float = math.inf) -> Tensor:
    """The Nash bargaining solution `G w = 1 / w` (Navon et al. 2022).

    For two tasks it points where IMTL-G does. The combined gradient has the length `sqrt(K)`,
    however long the gradients are. Weights grow without end as gradients become opposite: cosines
    count as -1 + 1e-6 or more.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
        max_norm: The combined gradient is cut to this length; the authors' code takes 1.

    Raises:
        ValueError: `max_norm` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"weighting.scheme.max_norm must be above 0, got {max_norm}")
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
    """Gradients made orthogonal and of equal length (Senushkin et al. 2023, Aligned-MTL).

    `sqrt(lam) G^(-1/2) 1 / K` with the smallest eigenvalue `lam`. Of parallel or opposite
    gradients the eigenvalues that are zero are left out: both weights are then finite and small.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
    """
    eigenvalues_K, vectors_KK = torch.linalg.eigh(gram_KK)
    kept_K = eigenvalues_K > SINGULAR * eigenvalues_K.max()
    eigenvalues_R, vectors_KR = eigenvalues_K[kept_K], vectors_KK[:, kept_K]
    scales_R = (eigenvalues_R.min() / eigenvalues_R).sqrt()
    return (vectors_KR * scales_R @ vectors_KR.T).mean(dim=1)


def cagrad(gram_KK: Tensor, step: int, *, radius: float = 0.5) -> Tensor:
    """The best worst improvement within a ball around the mean gradient (Liu et al. 2021).

    `1/K + radius |g_0| / |g_x| x` with the mean gradient `g_0` and `x` on the simplex minimising
    `g_x.g_0 + radius |g_0| |g_x|`. Where `g_x` vanishes (opposite gradients) all get 1/K.

    Args:
        gram_KK: Gram matrix.
        step: Of no influence.
        radius: The paper's c, relative to `|g_0|`: 0 gives the mean, a large one MGDA's direction.

    Raises:
        ValueError: `radius` is negative.
    """
    if not radius >= 0:
        raise ValueError(f"weighting.scheme.radius must be 0 or more; found {radius}")
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
    """The minimum over x in [0, 1] of `slope x + ball sqrt(curve (x - vertex)^2 + least)`."""
    slope, curve = (a - b) / 2, a + b - 2 * c
    if curve <= 0:
        return 0.5, 0.5
    vertex, least = (b - c) / curve, max((a * b - c * c) / curve, 0.0)
    steep = ball * ball * curve - slope * slope
    if steep <= 0:  # the line is steeper than the cone: an end of [0, 1]
        x = 0.0 if slope > 0 else 1.0
    else:
        x = vertex - math.copysign(abs(slope) * math.sqrt(least / (curve * steep)), slope)
    x = min(max(x, 0.0), 1.0)
    return x, 1 - x
