"""The clock of frozen_encoder.py: the processor seconds of each epoch, with its validation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class EpochClock(pl.Callback):
    """For `candelabra train`, by its name on the command line."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.times: list[float] = []

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time())

    def on_fit_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time())
        seconds = [
            after - before for before, after in zip(self.times, self.times[1:], strict=False)
        ]
        self.path.write_text(json.dumps(seconds))
