"""Callback that reports how each epoch used the examples of every task."""

from __future__ import annotations

import pytorch_lightning as pl
from rich.table import Table

from candelabra.data.module import MultiTaskDataModule
from candelabra.tables import show
from candelabra.training.module import MultiTaskModule

COLUMNS = ("share", "drawn", "repeated", "left_out", "padding")


class MixingReport(pl.Callback):
    """Callback that logs and prints the sampling statistics of every task at the end of each epoch.

    The logged metrics are `train/<task>/<column>` for each of `COLUMNS`: the task's sampling share,
    the numbers of drawn, repeated and left-out examples, and the share of padding tokens.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log and print the statistics that the schedule computes for this epoch."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, MultiTaskDataModule)
        assert isinstance(pl_module, MultiTaskModule)
        assert data.schedule is not None
        schedule = data.schedule
        # Callbacks run before the module's hook, so `epoch_scores` still belong to this epoch.
        epoch, scores = trainer.current_epoch, pl_module.epoch_scores
        parts = trainer.world_size * trainer.accumulate_grad_batches
        shares = schedule.shares(epoch * schedule.steps_per_epoch, scores)
        table = Table(title=f"epoch {epoch + 1}", title_justify="left")
        table.add_column("task")
        for column in COLUMNS:
            table.add_column(column.replace("_", " "), justify="right")
        for task, draws in schedule.plan(epoch, scores).items():
            padding = draws.padding(schedule.lengths[task], parts)
            found = (shares[task], draws.drawn, draws.repeated, draws.left_out, padding)
            values = {
                f"train/{task}/{key}": float(v) for key, v in zip(COLUMNS, found, strict=True)
            }
            pl_module.log_dict(values)
            counts = map(str, found[1:4])
            table.add_row(task, f"{shares[task]:.3f}", *counts, f"{padding:.1%}")
        show(table)
