"""Measure how the training of the encoder changes the scores of frozen heads."""

from __future__ import annotations

import pytorch_lightning as pl

from candelabra.data.module import MultiTaskDataModule
from candelabra.training.frozen_copy import frozen_heads
from candelabra.training.module import MultiTaskModule


def score_before(trainer: pl.Trainer, module: MultiTaskModule, data: MultiTaskDataModule) -> None:
    """Validate before the first step if heads are frozen, and keep their main scores.

    Later validations log the difference from these scores as `val/<task>/drift`.

    Args:
        trainer: Trainer before its fit.
        module: Module whose `start_scores` are set.
        data: Data with a validation split.
    """
    heads = frozen_heads(module.model)
    if heads:
        trainer.validate(module, datamodule=data, verbose=False)
        module.start_scores = {task: module.scores[task] for task in heads if task in module.scores}
        for objective in module.objectives.values():
            # `validate` creates inference tensors, which cannot be updated in place during a fit.
            objective.metrics.reset()
