"""Progress bar that avoids a device synchronisation in every step."""

from __future__ import annotations

import pytorch_lightning as pl

from candelabra.training.internals import StderrProgressBar


class ProgressBar(StderrProgressBar):
    """Rich progress bar that reads metrics only every `trainer.log_every_n_steps` steps.

    Lightning's bar copies the loss from the device after every step, which stalls a GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self._latest: dict[str, int | str | float | dict[str, float]] = {}

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the latest metrics without the version numbers of the loggers."""
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        due = trainer.global_step % every == 0
        if due or not trainer.training or not self._latest:
            self._latest = super().get_metrics(trainer, pl_module)
            self._latest.pop("v_num", None)
        return self._latest
