"""Averages of the weights over the steps of a run, by Lightning's callback."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from candelabra.training.module import MultiTaskModule


class StochasticWeightAveraging(WeightAveraging):
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
        super().__init__(use_buffers=False, avg_fn=self._mean)
        self.start = start
        self._first = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Finds the first step that counts."""
        assert isinstance(pl_module, MultiTaskModule)
        self._first = round(self.start * pl_module.total_steps)
        super().setup(trainer, pl_module, stage)

    def _mean(self, averaged: Tensor, current: Tensor, num_updates: Tensor | int) -> Tensor:
        """Called after each step; `num_updates` steps were done before it."""
        counted = int(num_updates) - self._first
        return current if counted <= 0 else averaged + (current - averaged) / (counted + 1)
