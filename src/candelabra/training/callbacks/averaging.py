"""Callbacks that average the weights over the steps of a run."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from candelabra.training.module import MultiTaskModule


class _BesideTheWeights(WeightAveraging):
    """Weight averaging on the training device; at `setup` the module is still on the CPU."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the averaged model on the training device."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class ExponentialMovingAverage(_BesideTheWeights):
    """Exponential moving average of the weights.

    After each step, `average = decay * average + (1 - decay) * weights`. The average starts as the
    weights after the first step.

    Args:
        decay: Decay in (0, 1); the average covers about the last `1 / (1 - decay)` steps.

    Raises:
        ValueError: If `decay` is not in (0, 1).
    """

    def __init__(self, *, decay: float = 0.99) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, got {decay}")
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))


class StochasticWeightAveraging(_BesideTheWeights):
    """Arithmetic mean of the weights over the last part of a run (SWA, Izmailov et al. 2018).

    Before that part, validations use the current weights. The callback does not change the
    learning-rate schedule; `scheduler=constant` comes closest to the paper.

    Args:
        start: Share of the run, in [0, 1), after which the averaging starts.

    Raises:
        ValueError: If `start` is not in [0, 1).
    """

    def __init__(self, *, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start must lie from 0 to below 1, got {start}")
        super().__init__(use_buffers=False, multi_avg_fn=self._mean)
        self.start = start
        self._first = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compute the first step that is averaged, and create the averaged model."""
        assert isinstance(pl_module, MultiTaskModule)
        self._first = round(self.start * pl_module.total_steps)
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def _mean(
        self, averaged: list[Tensor], current: list[Tensor], num_updates: Tensor | int
    ) -> None:
        """Update the mean in place; PyTorch calls this after each step except the first.

        Args:
            averaged: Tensors of the averaged model, changed in place.
            current: Tensors of the trained model.
            num_updates: Number of steps before this one.
        """
        counted = max(0, int(num_updates) - self._first)
        torch._foreach_lerp_(averaged, current, 1 / (counted + 1))
