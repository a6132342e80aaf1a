"""The clock of sweeps.py: processor seconds of a trial until its first training step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class FirstStep(pl.Callback):
    """Writes the seconds of this process, in all threads, to `first_step.json` in the run folder.

    The fork of a process that has imported the libraries starts at 0.
    """

    def __init__(self) -> None:
        self.written = False

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self.written:
            times = os.times()
            file = Path(trainer.default_root_dir) / "first_step.json"
            file.write_text(json.dumps(times.user + times.system))
            self.written = True
