"""Loss weights by how fast each loss falls."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from candelabra.objective.weighting.base import Linear


class Dwa(Linear):
    """Dynamic weight average: `w = K softmax(r / T)` (Liu, Johns & Davison 2019).

    `r_i` is a task's mean loss in the last window of steps, divided by that in the window before;
    the paper's window is an epoch. Weights are 1 in the first two windows; `r_i` counts as 1 where
    a task was not in the last two. What is no finite number is left out of the means.

    Args:
        tasks: The names of all tasks.
        window: Optimizer steps of a window.
        temperature: `T`; a large one makes the weights equal.

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
        if window < 1 or not temperature > 0:
            raise ValueError(
                "weighting.window must be 1 or more, and weighting.temperature positive; found "
                f"{window} and {temperature}"
            )
        self.window, self.temperature = window, temperature
        self._step = 0
        for name in ("sums_K", "counts_K"):
            self.register_buffer(name, torch.zeros(len(self.tasks)))
        self.register_buffer("last_K", torch.full((len(self.tasks),), torch.nan))

    def begin(self, step: int) -> None:
        """Windows are counted from the first step of the run."""
        self._step = step

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Takes the losses into the window's means; at its end the weights change."""
        for place, task in enumerate(self.tasks):
            if task in losses:
                loss = losses[task].to(self.sums_K)
                self.sums_K[place] += loss.nan_to_num(0.0, 0.0, 0.0)
                self.counts_K[place] += loss.isfinite()
        if (self._step + 1) % self.window == 0:
            means_K = self.sums_K / self.counts_K  # nan of a task that was not there
            ratios_K = (means_K / self.last_K).nan_to_num(1.0, 1.0, 1.0)
            self.weights_K.copy_(len(self.tasks) * (ratios_K / self.temperature).softmax(dim=0))
            self.last_K.copy_(means_K)
            self.sums_K.zero_()
            self.counts_K.zero_()
