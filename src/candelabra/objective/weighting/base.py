"""What every weighting is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """Makes one loss out of the losses of a step's tasks.

    Each loss comes already multiplied by its task's `loss_weight`. A step may hold some of the
    tasks only: the others then take no part, and their parameters get no gradient.

    A loss is what one process and one micro-batch contribute to the step's: `forward` has to be
    linear in each of them. What is not belongs into `observe`, or into a `StepWeighting`.

    Args:
        tasks: The names of all tasks; a run gives {task: number of labels}.

    Attributes:
        lr: Learning rate of its own optimizer group, which has no weight decay; None where the
            scheme has no parameters.
        moves: Whether the weights change in the course of a run, so that they are logged.
        observes: Whether `observe` is to be called.

    Raises:
        ValueError: `tasks` is empty or names a task twice.
    """

    lr: float | None = None
    moves: bool = True
    observes: bool = False

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"tasks must be one or more different names; found {list(tasks)}")
        self.tasks = tuple(tasks)

    def begin(self, step: int) -> None:
        """Is called before the first micro-batch of optimizer step `step`, counted from 0."""

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Is given the losses of a whole optimizer step, over all processes and micro-batches.

        Args:
            losses: Of the tasks of that step, detached scalars, the same in every process.
        """

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The one loss, a scalar, of the present tasks' losses by name."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """What each task's loss is multiplied by at present; detached, for the log."""

    def check(self, losses: Mapping[str, Tensor]) -> None:
        """Raises ValueError where `losses` is empty or holds a task that was not announced."""
        unknown = sorted(set(losses) - set(self.tasks))
        if unknown or not losses:
            raise ValueError(
                f"losses must be of one or more of the tasks {list(self.tasks)}; "
                f"found {list(losses)}"
            )


class Linear(Weighting):
    """`sum w_i L_i` with weights that are known before the step.

    Args:
        tasks: The names of all tasks.

    Attributes:
        weights_K: The weights in the order of `tasks`; 1 at the start.
    """

    weights_K: Tensor

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__(tasks)
        self.register_buffer("weights_K", torch.ones(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the present tasks, a scalar."""
        self.check(losses)
        weights = self.weights()
        return torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()

    def weights(self) -> dict[str, Tensor]:
        """The weights at present."""
        return dict(zip(self.tasks, self.weights_K.clone().unbind(), strict=True))
