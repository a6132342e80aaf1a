"""Private members of Lightning and W&B that candelabra reads; no other module reads any.

These have no public names for these. `tests/training/test_internals.py` notices a version that
renames them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar


def writes_metrics(trainer: pl.Trainer) -> bool:
    """Return whether the loggers write the metrics of the current step."""
    return trainer._logger_connector.should_update_logs


def logged_metrics(trainer: pl.Trainer) -> Mapping[str, Any]:
    """Return the metrics that were logged in the current step."""
    return trainer._logger_connector.metrics["log"]


def num_stepped_batches(trainer: pl.Trainer) -> int:
    """Return the number of optimizer steps, under which Lightning logs the metrics of a step."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def accumulates(trainer: pl.Trainer) -> bool:
    """Return whether the optimizer step is still to come after the current micro-batch."""
    return trainer.fit_loop._should_accumulate()


def epoch_ends(trainer: pl.Trainer) -> bool:
    """Return whether the current micro-batch is the last one of its epoch."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def validation_follows(trainer: pl.Trainer) -> bool:
    """Return whether a validation runs after the current micro-batch."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def before_end_of_batch(trainer: pl.Trainer) -> bool:
    """Return whether the current micro-batch is processed, but not counted as completed."""
    progress = trainer.fit_loop.epoch_loop.batch_progress.current
    return progress.processed > progress.completed  # type: ignore[attr-defined]


def kill_wandb_service() -> None:
    """Kill the service process that W&B has started, so that nothing waits for it any longer."""
    from wandb.sdk import wandb_setup

    connection = wandb_setup.singleton()._connection
    service = None if connection is None else connection._proc
    if service is not None:
        service._process.kill()


class StderrProgressBar(RichProgressBar):
    """Lightning's Rich progress bar on standard error."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _init_progress(self, trainer: pl.Trainer) -> None:
        """Start the bar, and keep what is printed on standard output if that is no terminal.

        Rich moves it to the console of the bar, so that the bar stays below it.
        """
        stdout = sys.stdout
        super()._init_progress(trainer)
        if not stdout.isatty():
            sys.stdout = stdout
