"""What every weighting is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """Makes one loss out of the losses of a step's tasks.

    Each loss comes already multiplied by its task's `loss_weight`. A step may hold some of the
    tasks only: the others then take no part, and their parameters get no gradient.

    Args:
        tasks: The names of all tasks.

    Attributes:
        lr: Learning rate of its own optimizer group, which has no weight decay; None where the
            scheme has nothing to learn.

    Raises:
        ValueError: `tasks` is empty or names a task twice.
    """

    lr: float | None = None

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"tasks must be one or more different names; found {list(tasks)}")
        self.tasks = tuple(tasks)

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
