"""Loss weights that balance the gradient norms and training rates of the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from candelabra.weighting.end_of_step import ALL, Adam, Grams, Rescaled

LEAST = 1e-3
"""Lower bound of the weights, so that a task with a small weight can recover."""


class GradNorm(Rescaled):
    """Weights learned from the gradients of the last shared layer (Chen et al. 2018, GradNorm).

    `w` minimizes `sum |G_i - mean(G) r_i^alpha|`, where `G_i = w_i |g_i|` is the weighted gradient
    norm and `r_i = (L_i / L_i(0)) / mean` the inverse training rate. The target
    `mean(G) r_i^alpha` is treated as a constant. After each update, `w` is normalized to sum to K.
    The update takes effect in the next step. Heads use their unweighted gradients.

    Args:
        tasks: Number of labels of each task.
        alpha: Strength with which slowly learning tasks are favored. 0 aims at equal norms.
        lr_w: Learning rate of `w` (Adam).
        first_steps: Number of initial steps whose mean loss is `L_i(0)` and whose weights are 1.
            With 0, `L_i(0)` is `log C`, the loss of a uniform prediction over C labels.
        rescale: As in `Rescaled`.

    Raises:
        ValueError: A number is out of range, or `first_steps` is 0 and a task has fewer than two
            labels.
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
        if not lr_w > 0:
            raise ValueError(f"lr_w must be positive, got {lr_w}")
        if not alpha >= 0:
            raise ValueError(f"alpha must be 0 or more, got {alpha}")
        if first_steps < 0:
            raise ValueError(f"first_steps must be 0 or more, got {first_steps}")
        self.alpha, self.first_steps = alpha, first_steps
        self.register_buffer("w_K", torch.ones(len(self.tasks)))
        if not first_steps and min(tasks.values()) < 2:
            raise ValueError("first_steps=0 needs two or more labels of each task")
        start = [0.0] * len(tasks) if first_steps else [math.log(c) for c in tasks.values()]
        self.register_buffer("start_K", torch.tensor(start))
        self.adam = Adam(len(self.tasks), lr=lr_w)

    def raw(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return the current weights, then update them for the next step."""
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
