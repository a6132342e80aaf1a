"""Weightings that need the losses or gradients of a whole optimizer step.

Shapes: K tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from candelabra.weighting.base import Weighting
from candelabra.weighting.gram import SINGULAR

ALL = "all"
"""Key of the Gram matrix over all shared parameters. The other keys name single layers."""

Grams = Mapping[str, Tensor]
"""Gram matrix gram_KK of the task gradients for each part of the model, lowest first, and `ALL`."""

Scheme = Callable[[Tensor, int], Tensor]
"""Function `(gram_KK, step) -> weights_K`, as in `gram`."""


class StepWeighting(Weighting):
    """Base class of weightings computed from a whole optimizer step with all tasks present.

    Losses and gradients are summed over micro-batches and averaged over processes, in float64 on
    the CPU, so the weights are identical on every process.

    Args:
        tasks: Names of all tasks.

    Attributes:
        heads: Whether the weights also multiply the gradients of the heads, or only those of the
            shared parameters.
        uses_gradients: Whether `weigh` reads the Gram matrices. The model must then have shared
            trainable parameters.
        needs_second_forward: Whether `look_again` should be called.
        used_K: Weights of the last step.
    """

    heads: bool = True
    uses_gradients: bool = False
    needs_second_forward: bool = False
    used_K: Tensor

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__(tasks)
        self.step = 0
        self.register_buffer("used_K", torch.ones(len(self.tasks)))

    @abstractmethod
    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Compute the weights of a step.

        Args:
            losses_K: Finite losses in the order of `tasks`.
            grams: Finite Gram matrices of the gradients of the unweighted losses.

        Returns:
            weights_K.
        """

    def look_again(self, losses_K: Tensor) -> None:
        """Process the losses of the same batches after the optimizer step.

        Args:
            losses_K: Losses in the order of `tasks`, computed with the same dropout masks.
        """

    def begin(self, step: int) -> None:
        """Store the index of the step."""
        self.step = step

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the plain sum of the losses, a scalar for logging.

        The gradients of the step are combined with the weights from `settle`.
        """
        self.check(losses)
        return torch.stack(list(losses.values())).sum()

    def settle(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return weights_K of the step.

        If a loss or Gram matrix is not finite, all weights are 1 and the scheme's state does not
        change.
        """
        finite = all(bool(found.isfinite().all()) for found in (losses_K, *grams.values()))
        weights_K = self.weigh(losses_K, grams) if finite else torch.ones_like(losses_K)
        self.used_K.copy_(weights_K)
        return weights_K

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the last completed step."""
        return dict(zip(self.tasks, self.used_K.clone().unbind(), strict=True))


class Rescaled(StepWeighting):
    """Base class of weightings of the shared gradients; heads use their unweighted gradients.

    Args:
        tasks: Names of all tasks.
        rescale: Whether to scale the combined gradient to the norm of the plain sum. Otherwise the
            scheme also changes the effective learning rate: PCGrad's weights are at least 1, MGDA's
            sum to 1. A combined gradient of zero is not rescaled.
    """

    heads = False
    uses_gradients = True

    def __init__(self, tasks: Collection[str], *, rescale: bool = True) -> None:
        super().__init__(tasks)
        self.rescale = rescale

    @abstractmethod
    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return weights_K as published. The arguments are those of `weigh`."""

    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return the published weights, rescaled if `rescale` is set."""
        weights_K = self.raw(losses_K, grams)
        return rescaled(weights_K, grams[ALL]) if self.rescale else weights_K


class GradientWeighting(Rescaled):
    """Weights from a scheme that depends only on the Gram matrix.

    Tasks whose shared gradient is zero are not passed to the scheme. Their weight is 1, which has
    no effect on a zero gradient.

    Args:
        tasks: Names of all tasks.
        scheme: Function `(gram_KK, step) -> weights_K`, see `gram`.
        rescale: As in `Rescaled`.
    """

    def __init__(self, tasks: Collection[str], *, scheme: Scheme, rescale: bool = True) -> None:
        super().__init__(tasks, rescale=rescale)
        self.scheme = scheme

    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return the scheme's weights, and 1 for tasks whose gradient is zero."""
        gram_KK = grams[ALL]
        weights_K = torch.ones_like(losses_K)
        present_K = gram_KK.diagonal() > 0
        if present_K.sum() > 1:
            weights_K[present_K] = self.scheme(gram_KK[present_K][:, present_K], self.step)
        return weights_K


def rescaled(weights_K: Tensor, gram_KK: Tensor) -> Tensor:
    """Scale the weights so that the combined gradient has the norm of the plain sum.

    Args:
        weights_K: Weights of the tasks.
        gram_KK: Gram matrix of the gradients.

    Returns:
        The scaled weights, or `weights_K` if the combined gradient is zero up to rounding.

    Example:
        >>> rescaled(torch.tensor([0.5, 0.5]), torch.eye(2))
        tensor([1., 1.])
    """
    square = float(weights_K @ gram_KK @ weights_K)
    if square <= SINGULAR * float(weights_K.square() @ gram_KK.diagonal()):
        return weights_K
    wanted = max(float(gram_KK.sum()), 0.0)
    return weights_K * (wanted / square) ** 0.5


class Adam(torch.nn.Module):
    """Adam (Kingma & Ba 2015) for one vector.

    The state is kept in buffers, so a run resumed from a checkpoint continues exactly.

    Args:
        size: Length of the vector.
        lr: Learning rate.
        decay: Coefficient of the L2 penalty: `decay * vector` is added to the gradient.
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
        """Update `vector_K` in place."""
        gradient_K = gradient_K.float().to(vector_K) + self.decay * vector_K
        self.count += 1
        self.mean_K.lerp_(gradient_K, 0.1)
        self.square_K.lerp_(gradient_K.square(), 0.001)
        count: Any = self.count.item()
        mean_K = self.mean_K / (1 - 0.9**count)
        vector_K -= self.lr * mean_K / ((self.square_K / (1 - 0.999**count)).sqrt() + 1e-8)
