"""Loss weights by chance: what a scheme has to beat."""

from __future__ import annotations

from collections.abc import Collection

import torch

from candelabra.objective.weighting.base import Linear


class Random(Linear):
    """`w = K softmax(z)` with new `z ~ N(0, 1)` in each step (Lin et al. 2022, RLW).

    They come from `(seed, step)` alone: the same in every process and micro-batch, and after a
    resume.

    Args:
        tasks: The names of all tasks.
        seed: Where the weights come from.
    """

    def __init__(self, tasks: Collection[str], *, seed: int = 0) -> None:
        super().__init__(tasks)
        self.seed = seed

    def begin(self, step: int) -> None:
        """Draws the step's weights."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        z_K = torch.randn(len(self.tasks), generator=generator)
        self.weights_K.copy_(len(self.tasks) * z_K.softmax(dim=0))
