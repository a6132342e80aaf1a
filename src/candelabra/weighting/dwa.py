"""Loss weights that depend on how fast each loss decreases."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from candelabra.weighting.base import Linear


class Dwa(Linear):
    """Dynamic weight average: `w = K softmax(r / T)` (Liu, Johns & Davison 2019).

    `r_i` is the mean loss of task i in the last window of steps, divided by its mean loss in the
    window before. The paper uses an epoch as window. Weights are 1 during the first two windows,
    and `r_i` is 1 if the task was missing from one of the last two. Losses that are not finite are
    left out of the means.

    Args:
        tasks: Names of all tasks.
        window: Length of a window in optimizer steps.
        temperature: T. Larger values make the weights more equal.

    Raises:
        ValueError: `window` is below 1, or `temperature` is not positive.
    """

    observes = True
    sums_K: Tensor
    counts_K: Tensor
    last_K: Tensor

    def __init__(
        self, tasks: Collection[str], *, window: int = 100, temperature: float = 2.0
    ) -> None:
        super().__init__(tasks)
        if window < 1:
            raise ValueError(f"window must be 1 or more, got {window}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.window, self.temperature = window, temperature
        self._step = 0
        for name in ("sums_K", "counts_K"):
            self.register_buffer(name, torch.zeros(len(self.tasks)))
        self.register_buffer("last_K", torch.full((len(self.tasks),), torch.nan))

    def begin(self, step: int) -> None:
        """Store the step index, from which the end of a window is computed."""
        self._step = step

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses to the window's means, and update the weights at the end of a window."""
        for place, task in enumerate(self.tasks):
            if task in losses:
                loss = losses[task].to(self.sums_K)
                self.sums_K[place] += loss.nan_to_num(0.0, 0.0, 0.0)
                self.counts_K[place] += loss.isfinite()
        if (self._step + 1) % self.window == 0:
            means_K = self.sums_K / self.counts_K  # NaN for a task without losses
            ratios_K = (means_K / self.last_K).nan_to_num(1.0, 1.0, 1.0)
            self.weights_K.copy_(len(self.tasks) * (ratios_K / self.temperature).softmax(dim=0))
            self.last_K.copy_(means_K)
            self.sums_K.zero_()
            self.counts_K.zero_()
