"""Loss weights that make the tasks' gradients equally long, more so where a task lags behind."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from candelabra.objective.weighting.step import ALL, Adam, Grams, Rescaled

LEAST = 1e-3
"""Weights stay above: a task must be able to come back."""


class GradNorm(Rescaled):
    """Learnt loss weights (Chen et al. 2018), on the gradients of the last shared layer.

    `w` descends on `sum |G_i - mean(G) r_i^alpha|` with `G_i = w_i |g_i|` and the inverse training
    rate `r_i = (L_i / L_i(0)) / mean`; the target is a constant. Then `w` is scaled to sum K. A
    step uses the weights that the steps before it gave. Heads take their plain gradients here.

    Args:
        tasks: For each task the number of its labels.
        alpha: How strongly tasks that learn slowly are pulled; 0 wants equal lengths.
        lr_w: Learning rate of `w` (Adam).
        first_steps: `L_i(0)` is the mean of as many steps, in which the weights are 1; 0 takes
            `log C`, the loss of a classifier that knows nothing.
        rescale: As in `Rescaled`.

    Raises:
        ValueError: A number is out of its range.
    """

    w_K: Tensor
    start_K: Tensor

    def __init__(
        self,
        tasks: Mapping[str, int],
        *,
        alpha: float = 1.5,
        lr_w: float = 0.025,
        first_steps: int = 20,
        rescale: bool = True,
    ) -> None:
        super().__init__(tasks, rescale=rescale)
        if not lr_w > 0 or not alpha >= 0 or first_steps < 0:
            raise ValueError(
                "weighting.lr_w must be positive, alpha and first_steps 0 or more; found "
                f"{lr_w}, {alpha} and {first_steps}"
            )
        self.alpha, self.first_steps = alpha, first_steps
        self.register_buffer("w_K", torch.ones(len(self.tasks)))
        if not first_steps and min(tasks.values()) < 2:
            raise ValueError("weighting.first_steps=0 needs two or more labels of each task")
        start = [0.0] * len(tasks) if first_steps else [math.log(c) for c in tasks.values()]
        self.register_buffer("start_K", torch.tensor(start))
        self.adam = Adam(len(self.tasks), lr=lr_w)

    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The weights so far; then they move."""
        weights_K = self.w_K.cpu().double()
        if self.step < self.first_steps:
            self.start_K += losses_K.to(self.start_K) / self.first_steps
        else:
            layer = [name for name in grams if name.startswith("layer_")][-1:] or [ALL]
            self._move(losses_K, grams[layer[0]].diagonal().sqrt())
        return weights_K

    def _move(self, losses_K: Tensor, lengths_K: Tensor) -> None:
        rates_K = losses_K / self.start_K.to(losses_K).clamp(min=1e-8)
        rates_K = rates_K / rates_K.mean().clamp(min=1e-8)
        weighted_K = self.w_K.to(lengths_K) * lengths_K
        target_K = weighted_K.mean() * rates_K.clamp(min=0) ** self.alpha
        self.adam.step(self.w_K, lengths_K * (weighted_K - target_K).sign())
        self.w_K.clamp_(min=LEAST)
        self.w_K *= len(self.tasks) / self.w_K.sum()
