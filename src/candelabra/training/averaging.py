"""Averages of the weights over the steps of a run, by Lightning's callback."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from candelabra.training.module import MultiTaskModule


class _BesideTheWeights(WeightAveraging):
    """Keeps the average on the device of the run: at `setup` the module has not moved there yet."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Makes the average when a fit begins."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class ExponentialMovingAverage(_BesideTheWeights):
    """`decay * average + (1 - decay) * weights` after each step; it starts as the first weights.

    Args:
        decay: About the last `1 / (1 - decay)` steps count.

    Raises:
        ValueError: `decay` does not lie between 0 and 1.
    """

    def __init__(self, *, decay: float = 0.99) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"callbacks.average.decay must lie between 0 and 1, got {decay}")
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))


class StochasticWeightAveraging(_BesideTheWeights):
    """The plain mean of the weights over the last part of a run (SWA, Izmailov et al. 2018).

    Until that part begins, validations see the weights as they are. The learning-rate schedule is
    left alone: `scheduler=constant` comes closest to the paper.

    Args:
        start: The part of the run, 0 to 1, after which weights are averaged.

    Raises:
        ValueError: `start` does not lie from 0 to below 1.
    """

    def __init__(self, *, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"callbacks.average.start must lie from 0 to below 1, got {start}")
        super().__init__(use_buffers=False, multi_avg_fn=self._mean)
        self.start = start
        self._first = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Finds the first step that counts."""
        assert isinstance(pl_module, MultiTaskModule)
        self._first = round(self.start * pl_module.total_steps)
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def _mean(
        self, averaged: list[Tensor], current: list[Tensor], num_updates: Tensor | int
    ) -> None:
        """Called after each step but the first; `num_updates` steps were done before it."""
        counted = max(0, int(num_updates) - self._first)
        torch._foreach_lerp_(averaged, current, 1 / (counted + 1))
