"""The clock of mixing.py as a callback that `candelabra train` gets on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from meter import Meter

from candelabra.records import Batch


class MeterCallback(pl.Callback):
    """Writes the speed of the steps to `path` when the training ends."""

    def __init__(self, path: str, warmup: int, total: int) -> None:
        self.path = Path(path)
        self.meter = Meter(warmup, total)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Mapping[str, Batch],
        batch_idx: int,
    ) -> None:
        self.meter.step_begins([text.mask_BL for part in batch.values() for text in part.texts])

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.meter.step_ended()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.meter.write(self.path)
