"""Weightings whose weights are known at a step's end only: from its losses or its gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from candelabra.objective.weighting.base import Weighting
from candelabra.objective.weighting.gram import SINGULAR

ALL = "all"
"""The Gram matrix over everything that is shared, among those of single layers."""

Grams = Mapping[str, Tensor]
"""Part of the model, lowest first, and `ALL` -> gram_KK of the tasks' gradients there."""

Scheme = Callable[[Tensor, int], Tensor]
"""`(gram_KK, step) -> weights_K`, as in `gram`."""


class StepWeighting(Weighting):
    """Weights from a whole optimizer step: every task has to be in every step.

    Losses and gradients come summed over micro-batches and averaged over processes, in float64 on
    the CPU, so the weights are the same in every process.

    Args:
        tasks: The names of all tasks.

    Attributes:
        heads: Whether a head's gradient is multiplied with its task's weight, as the shared one.
        uses_gradients: Whether it reads the Gram matrices; then there has to be something shared.
        looks_again: Whether `look_again` is to be called.
        used_K: The weights of the last step.
    """

    heads: bool = True
    uses_gradients: bool = False
    looks_again: bool = False
    used_K: Tensor

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__(tasks)
        self.step = 0
        self.register_buffer("used_K", torch.ones(len(self.tasks)))

    @abstractmethod
    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """weights_K of a step, from finite numbers.

        Args:
            losses_K: The losses in the order of `tasks`.
            grams: Of the unweighted losses' gradients.
        """

    def look_again(self, losses_K: Tensor) -> None:
        """Is given the same batch's losses, with the same dropout, after the optimizer's step."""

    def begin(self, step: int) -> None:
        """Keeps the step's number."""
        self.step = step

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The plain sum, a scalar: what is logged. The step's gradient is made of `settle`."""
        self.check(losses)
        return torch.stack(list(losses.values())).sum()

    def settle(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The step's weights_K; 1 each, and no change of state, where a number is not finite."""
        finite = all(bool(found.isfinite().all()) for found in (losses_K, *grams.values()))
        weights_K = self.weigh(losses_K, grams) if finite else torch.ones_like(losses_K)
        self.used_K.copy_(weights_K)
        return weights_K

    def weights(self) -> dict[str, Tensor]:
        """The weights of the last step that is over."""
        return dict(zip(self.tasks, self.used_K.clone().unbind(), strict=True))


class Rescaled(StepWeighting):
    """Weights of the shared gradients; heads take the plain gradients of their own losses.

    Args:
        tasks: The names of all tasks.
        rescale: Whether the combined gradient gets the length of the plain sum. Without, the
            scheme changes the learning rate too: PCGrad's weights exceed 1, MGDA's sum to 1. Where
            the weighted sum vanishes it has no direction, and stays as it is.
    """

    heads = False
    uses_gradients = True

    def __init__(self, tasks: Collection[str], *, rescale: bool = True) -> None:
        super().__init__(tasks)
        self.rescale = rescale

    @abstractmethod
    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The weights_K as published; arguments as of `weigh`."""

    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The published weights, rescaled if asked."""
        weights_K = self.raw(losses_K, grams)
        return rescaled(weights_K, grams[ALL]) if self.rescale else weights_K


class GradientWeighting(Rescaled):
    """Weights by a scheme that sees nothing but the Gram matrix.

    A task whose shared gradient is zero takes no part: it weighs 1, which is of no effect, and the
    others are weighed among themselves.

    Args:
        tasks: The names of all tasks.
        scheme: (gram_KK, step) -> weights_K.
        rescale: As in `Rescaled`.
    """

    def __init__(self, tasks: Collection[str], *, scheme: Scheme, rescale: bool = True) -> None:
        super().__init__(tasks, rescale=rescale)
        self.scheme = scheme

    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The scheme's weights of the tasks whose gradient is not zero."""
        gram_KK = grams[ALL]
        weights_K = torch.ones_like(losses_K)
        present_K = gram_KK.diagonal() > 0
        if present_K.sum() > 1:
            weights_K[present_K] = self.scheme(gram_KK[present_K][:, present_K], self.step)
        return weights_K


def rescaled(weights_K: Tensor, gram_KK: Tensor) -> Tensor:
    """Weights whose combined gradient is as long as the plain sum of the gradients.

    Args:
        weights_K: Any weights.
        gram_KK: Gram matrix of the gradients.

    Returns:
        The same weights times a factor; 1 where the combined gradient is zero to rounding.
    """
    square = float(weights_K @ gram_KK @ weights_K)
    if square <= SINGULAR * float(weights_K.square() @ gram_KK.diagonal()):
        return weights_K
    wanted = max(float(gram_KK.sum()), 0.0)
    return weights_K * (wanted / square) ** 0.5


class Adam(torch.nn.Module):
    """Adam (Kingma & Ba 2015) on one vector, with its state in buffers: a resume goes on exactly.

    Args:
        size: Length of the vector.
        lr: Learning rate.
        decay: Added to the gradient, times the vector.
    """

    mean_K: Tensor
    square_K: Tensor
    count: Tensor

    def __init__(self, size: int, *, lr: float, decay: float = 0.0) -> None:
        super().__init__()
        self.lr, self.decay = lr, decay
        for name in ("mean_K", "square_K"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def step(self, vector_K: Tensor, gradient_K: Tensor) -> None:
        """Moves `vector_K` in place."""
        gradient_K = gradient_K.float().to(vector_K) + self.decay * vector_K
        self.count += 1
        self.mean_K.lerp_(gradient_K, 0.1)
        self.square_K.lerp_(gradient_K.square(), 0.001)
        count: Any = self.count.item()
        mean_K = self.mean_K / (1 - 0.9**count)
        vector_K -= self.lr * mean_K / ((self.square_K / (1 - 0.999**count)).sqrt() + 1e-8)
