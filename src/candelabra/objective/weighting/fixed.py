"""The plain sum: the baseline that every other weighting has to beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from candelabra.objective.weighting.base import Weighting


class Fixed(Weighting):
    """`sum L_i`, where each loss already carries its task's `loss_weight`.

    With ordinary regularisation this matches the special schemes (Kurin et al. 2022).

    Args:
        tasks: The names of all tasks.
    """

    moves = False

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of the losses, a scalar."""
        self.check(losses)
        return torch.stack(list(losses.values())).sum()

    def weights(self) -> dict[str, Tensor]:
        """1 for each task."""
        return {task: torch.ones(()) for task in self.tasks}
