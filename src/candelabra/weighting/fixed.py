"""The unweighted sum, which is the baseline for all other weightings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from candelabra.weighting.base import Weighting


class Fixed(Weighting):
    """Plain sum `sum L_i`, where each loss is already multiplied by its task's `loss_weight`.

    With standard regularization, this performs as well as specialized schemes (Kurin et al. 2022).

    Args:
        tasks: Names of all tasks.
    """

    moves = False

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the losses, a scalar."""
        self.check(losses)
        return torch.stack(list(losses.values())).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return 1 for each task."""
        return {task: torch.ones(()) for task in self.tasks}
