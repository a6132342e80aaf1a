"""Random loss weights, a baseline for the other schemes."""

from __future__ import annotations

from collections.abc import Collection

import torch

from candelabra.weighting.base import Linear


class Random(Linear):
    """Random weights `w = K softmax(z)` with a new `z ~ N(0, 1)` in each step (Lin et al. 2022).

    The weights are a function of `(seed, step)`, so they are identical in every process and
    micro-batch, and after resuming from a checkpoint.

    Args:
        tasks: Names of all tasks.
        seed: Seed of the random generator.
    """

    def __init__(self, tasks: Collection[str], *, seed: int = 0) -> None:
        super().__init__(tasks)
        self.seed = seed

    def begin(self, step: int) -> None:
        """Draw the weights of the step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        z_K = torch.randn(len(self.tasks), generator=generator)
        self.weights_K.copy_(len(self.tasks) * z_K.softmax(dim=0))
