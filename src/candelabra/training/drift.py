"""What a moving encoder does to heads that are frozen, measured."""

from __future__ import annotations

import pytorch_lightning as pl

from candelabra.data.module import MultiTaskDataModule
from candelabra.training.frozen_copy import frozen_heads
from candelabra.training.module import MultiTaskModule


def score_before(trainer: pl.Trainer, module: MultiTaskModule, data: MultiTaskDataModule) -> None:
    """Validates frozen heads before the first step: later validations tell their drift."""
    heads = frozen_heads(module.model)
    if heads:
        trainer.validate(module, datamodule=data, verbose=False)
        module.start_scores = {task: module.scores[task] for task in heads if task in module.scores}
        for objective in module.objectives.values():
            # `validate` runs in inference mode, and no tensor of it may be written to in a fit.
            objective.metrics.reset()
