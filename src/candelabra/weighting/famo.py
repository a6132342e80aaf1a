"""Fast adaptive multitask optimization (FAMO): equal relative progress, using only the losses."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from candelabra.weighting.end_of_step import Adam, Grams, StepWeighting

LEAST = 1e-8
"""The paper's epsilon under the logarithm."""


class Famo(StepWeighting):
    """FAMO: `c sum z_i log D_i`, `D_i = L_i - b + 1e-8`, `z = softmax(w)` (Liu et al. 2023).

    `c = 1 / sum(z_i / D_i)` is treated as a constant, so the weights `c z_i / D_i` sum to 1. As in
    the paper, they apply to the heads as well. After each optimizer step, the losses of the same
    batches are computed again with the same dropout masks. Adam then updates `w` with the gradient
    `J^T (log D_before - log D_after)`, where `J` is the Jacobian of the softmax: a task that
    improved more than the others receives less weight. This costs an additional forward pass per
    step and keeps the step's batches in memory until then.

    Args:
        tasks: Names of all tasks.
        lr_w: Learning rate of `w`.
        decay: L2 penalty on `w`.
        bound: b, a lower bound of all losses.

    Raises:
        ValueError: `lr_w` is not positive.
    """

    needs_second_forward = True
    w_K: Tensor

    def __init__(
        self,
        tasks: Collection[str],
        *,
        lr_w: float = 0.025,
        decay: float = 1e-3,
        bound: float = 0.0,
    ) -> None:
        super().__init__(tasks)
        if not lr_w > 0:
            raise ValueError(f"lr_w must be positive, got {lr_w}")
        self.bound = bound
        self.register_buffer("w_K", torch.zeros(len(self.tasks)))
        self.adam = Adam(len(self.tasks), lr=lr_w, decay=decay)
        self._before_K: Tensor | None = None

    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return the weights `c z_i / D_i`, and store the losses for `look_again`."""
        self._before_K = losses_K
        shares_K = self._z().to(losses_K) / self._above(losses_K)
        return shares_K / shares_K.sum()

    def look_again(self, losses_K: Tensor) -> None:
        """Update `w` from the losses before and after the step, if all are finite."""
        before_K, self._before_K = self._before_K, None
        if before_K is None or not losses_K.isfinite().all():
            return
        gain_K = self._above(before_K).log() - self._above(losses_K).log()
        z_K = self._z().to(gain_K)
        self.adam.step(self.w_K, z_K * (gain_K - z_K @ gain_K))

    def _z(self) -> Tensor:
        return self.w_K.cpu().double().softmax(dim=0)

    def _above(self, losses_K: Tensor) -> Tensor:
        return (losses_K - self.bound).clamp(min=0) + LEAST
