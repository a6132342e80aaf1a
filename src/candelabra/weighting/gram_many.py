"""Solvers of the schemes in `gram` for more than two tasks.

PCGrad, MGDA and IMTL-G use torchjd (optional extra `gradients`). Its UPGrad, Nash-MTL and CAGrad
depend on the solvers quadprog, ecos and clarabel. To avoid these dependencies, the small convex
problems are solved here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from candelabra.errors import ConfigError

SWEEPS = 2000
"""Maximum number of iterations, ample for a handful of tasks."""


def torchjd(name: str) -> Any:
    """Return a class of `torchjd.aggregation` by name.

    Raises:
        ConfigError: torchjd is not installed.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise ConfigError(
            "this weighting of more than two tasks needs torchjd, which is not installed: "
            'pip install "candelabra[gradients]"'
        ) from error
    return getattr(aggregation, name)


def pcgrad(gram_KK: Tensor, step: int, *, seed: int) -> Tensor:
    """Compute PCGrad weights with torchjd; `(seed, step)` determines the order of projections."""
    weighting = torchjd("PCGradWeighting")()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1_000_003 + step)
        return weighting(gram_KK)


def mgda(gram_KK: Tensor) -> Tensor:
    """Compute MGDA weights with torchjd, by the Frank-Wolfe algorithm."""
    return torchjd("MGDAWeighting")(epsilon=1e-6, max_iters=1000)(gram_KK)


def imtl_g(gram_KK: Tensor) -> Tensor:
    """Compute IMTL-G weights with torchjd, or 1/K if it returns non-finite or zero weights."""
    weights_K = torchjd("IMTLGWeighting")()(gram_KK)
    if not weights_K.isfinite().all() or not weights_K.any():
        return torch.full_like(weights_K, 1 / len(weights_K))
    return weights_K


def upgrad(gram_KK: Tensor) -> Tensor:
    """Compute UPGrad weights by coordinate descent.

    For each task i, minimize `v G v` over `v >= e_i / K`; the weights are the sum of the solutions.
    """
    gram, num = gram_KK.tolist(), len(gram_KK)
    total = [0.0] * num
    for task in range(num):
        least = [1 / num if other == task else 0.0 for other in range(num)]
        v = list(least)
        for _ in range(SWEEPS):
            moved = 0.0
            for j in range(num):
                rest = sum(gram[j][k] * v[k] for k in range(num) if k != j)
                new = max(least[j], -rest / gram[j][j])
                moved, v[j] = max(moved, abs(new - v[j])), new
            if moved < 1e-12:
                break
        total = [a + b for a, b in zip(total, v, strict=True)]
    return gram_KK.new_tensor(total)


def nash(gram_KK: Tensor, *, ridge: float) -> Tensor:
    """Solve `G w = 1 / w` by damped Newton steps on `w G w / 2 - sum log w`.

    The gradients are scaled to unit length first, which improves the conditioning.

    Args:
        gram_KK: Gram matrix of the gradients.
        ridge: Number added to the diagonal of the cosines, because opposite gradients have no
            solution otherwise.
    """
    norms_K = gram_KK.diagonal().sqrt()
    cosines_KK = gram_KK / norms_K.outer(norms_K) + ridge * torch.eye(len(gram_KK)).to(gram_KK)
    w_K = torch.ones_like(norms_K)
    for _ in range(SWEEPS):
        slope_K = cosines_KK @ w_K - 1 / w_K
        step_K = torch.linalg.solve(cosines_KK + (w_K**-2).diag(), slope_K)
        decrement = math.sqrt(max(float(slope_K @ step_K), 0.0))
        w_K = w_K - step_K / (1 + decrement)
        if decrement < 1e-10:
            break
    return w_K / norms_K


def cagrad(gram_KK: Tensor, ball: float) -> Tensor:
    """Minimize `x G 1/K + ball sqrt(x G x)` over the simplex by projected gradient descent."""
    mean_K = gram_KK.mean(dim=1)
    tiny = 1e-16 * float(gram_KK.trace())

    def cost(x_K: Tensor) -> float:
        """Return the objective, which is to be minimized."""
        return float(x_K @ mean_K) + ball * math.sqrt(max(float(x_K @ gram_KK @ x_K), 0.0) + tiny)

    x_K = torch.full_like(mean_K, 1 / len(mean_K))
    rate, now = 1 / max(float(gram_KK.trace()), tiny), cost(x_K)
    for _ in range(SWEEPS):
        length = math.sqrt(max(float(x_K @ gram_KK @ x_K), 0.0) + tiny)
        slope_K = mean_K + ball / length * (gram_KK @ x_K)
        while True:
            new_K = onto_simplex(x_K - rate * slope_K)
            gain, moved = now - cost(new_K), float((new_K - x_K).abs().max())
            if gain >= 0 or moved < 1e-12:
                break
            rate /= 2
        if moved < 1e-12:
            break
        x_K, now, rate = new_K, now - gain, rate * 1.5
    return x_K


def onto_simplex(x_K: Tensor) -> Tensor:
    """Project a vector onto the probability simplex: entries of 0 or more that sum to 1.

    Example:
        >>> onto_simplex(torch.tensor([0.5, 1.5, -1.0]))
        tensor([0., 1., 0.])
    """
    sorted_K = x_K.sort(descending=True).values
    excess_K = (sorted_K.cumsum(0) - 1) / torch.arange(1, len(x_K) + 1).to(x_K)
    last = int((sorted_K > excess_K).sum()) - 1
    return (x_K - excess_K[last]).clamp(min=0)
