"""What an epoch did with each task's examples: drawn, repeated, left out, padding."""

from __future__ import annotations

import pytorch_lightning as pl
from rich.table import Table

from candelabra.data.module import MultiTaskDataModule
from candelabra.report import show
from candelabra.training.module import MultiTaskModule

COLUMNS = ("share", "drawn", "repeated", "left_out", "padding")


class MixingReport(pl.Callback):
    """Logs `train/<task>/drawn` and so on at the end of each epoch, and prints them."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Asks the schedule what the epoch was made of."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, MultiTaskDataModule)
        assert isinstance(pl_module, MultiTaskModule)
        assert data.schedule is not None
        schedule = data.schedule
        # The module's scores are still those that the epoch began with: callbacks come first.
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
