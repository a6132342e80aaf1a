"""Base classes of all weightings.

Shapes: K tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """Base class of weightings, which combine the losses of several tasks into one.

    Each loss is already multiplied by the `loss_weight` of its task. If a step contains only some
    of the tasks, the others do not contribute, and their parameters receive no gradient.

    `forward` receives the part of the step's losses that comes from one process and one
    micro-batch, so it must be linear in each loss. Use `observe` or a `StepWeighting` for schemes
    that need the losses of the whole step.

    Args:
        tasks: Names of all tasks. Training passes a mapping from task to number of labels.

    Attributes:
        lr: Learning rate of the weighting's own parameters, which form an optimizer group without
            weight decay, or `None` if there are no parameters.
        moves: Whether the weights change during training and should be logged.
        observes: Whether `observe` should be called after each optimizer step.

    Raises:
        ValueError: `tasks` is empty or names a task twice.
    """

    lr: float | None = None
    moves: bool = True
    observes: bool = False

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"tasks must be one or more different names, got {list(tasks)}")
        self.tasks = tuple(tasks)

    def begin(self, step: int) -> None:
        """Prepare for an optimizer step, before its first micro-batch.

        Args:
            step: Index of the optimizer step, from 0.
        """

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Process the losses of a whole optimizer step, over all processes and micro-batches.

        Args:
            losses: Detached scalar loss of each task in the step, identical on every process.
        """

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine the losses of the tasks that are present into one.

        Args:
            losses: Scalar loss of each task that is present.

        Returns:
            The combined loss, a scalar.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return the current weight of each task's loss, detached, for logging."""

    def check(self, losses: Mapping[str, Tensor]) -> None:
        """Raise an error if there are no losses, or losses of unknown tasks.

        Raises:
            ValueError: `losses` is empty or contains a task that is not in `tasks`.
        """
        unknown = sorted(set(losses) - set(self.tasks))
        if unknown or not losses:
            raise ValueError(
                f"losses must be of one or more of the tasks {list(self.tasks)}, got {list(losses)}"
            )


class Linear(Weighting):
    """Weighted sum `sum w_i L_i` with weights that are fixed before the step starts.

    Args:
        tasks: Names of all tasks.

    Attributes:
        weights_K: Weights in the order of `tasks`, initially 1.
    """

    weights_K: Tensor

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("weights_K", torch.ones(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses that are present, a scalar."""
        self.check(losses)
        weights = self.weights()
        return torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return the current weights."""
        return dict(zip(self.tasks, self.weights_K.clone().unbind(), strict=True))
