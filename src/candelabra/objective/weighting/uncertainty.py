"""Loss weights that are learnt, one for each task's noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from candelabra.objective.weighting.base import Weighting


class Uncertainty(Weighting):
    """`sum e^(-s_i) L_i + s_i / 2` with a learnt `s_i = log sigma_i^2` (Kendall et al. 2018).

    The form for classification; `s` starts at 0, where the weights are 1. At rest a weight is
    `1 / (2 L_i)`, so the task whose loss goes to 0 counts ever more. The sum may be negative:
    no early stopping may watch it.

    Args:
        tasks: The names of all tasks.
        lr: Learning rate of the `s_i`. At the 2e-5 of an encoder they hardly move.

    Raises:
        ValueError: `tasks` is empty or names a task twice, or `lr` is not positive.
    """

    def __init__(self, tasks: Sequence[str], *, lr: float = 1e-2) -> None:
        super().__init__(tasks)
        if not lr > 0:
            raise ValueError(f"weighting.lr must be positive; found {lr}")
        self.lr = lr
        # One parameter a task: an absent one keeps grad None, and the optimizer leaves it alone.
        self.s = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the present tasks, a scalar."""
        self.check(losses)
        terms = [(-self.s[task]).exp() * loss + self.s[task] / 2 for task, loss in losses.items()]
        return torch.stack(terms).sum()

    def weights(self) -> dict[str, Tensor]:
        """`e^(-s)` of each task."""
        return {task: (-self.s[task]).exp().detach() for task in self.tasks}
