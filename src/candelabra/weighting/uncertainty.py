"""Loss weights learned from the uncertainty of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from candelabra.weighting.base import Weighting


class Uncertainty(Weighting):
    """Uncertainty weighting: `sum e^(-s_i) L_i + s_i / 2` (Kendall et al. 2018).

    `s_i = log sigma_i^2` is a learned parameter. This is the paper's form for classification. `s`
    starts at 0, where the weights are 1. At the optimum a weight is `1 / (2 L_i)`, so the weight of
    a task grows as its loss approaches 0. The sum may be negative; do not use it for early
    stopping.

    Args:
        tasks: Names of all tasks.
        lr: Learning rate of the `s_i`. They hardly change at an encoder's usual 2e-5.

    Raises:
        ValueError: `tasks` is empty or names a task twice, or `lr` is not positive.
    """

    def __init__(self, tasks: Sequence[str], *, lr: float = 1e-2) -> None:
        super().__init__(tasks)
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.lr = lr
        # With one parameter per task, the parameter of an absent task has no gradient, and the
        # optimizer skips it.
        self.s = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses that are present, a scalar."""
        self.check(losses)
        terms = [(-self.s[task]).exp() * loss + self.s[task] / 2 for task, loss in losses.items()]
        return torch.stack(terms).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return `e^(-s)` of each task, detached."""
        return {task: (-self.s[task]).exp().detach() for task in self.tasks}
