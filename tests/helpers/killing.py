"""A callback that kills its training, or worse, where a test says; no yaml of conf/ has it."""

from __future__ import annotations

import io
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch

from candelabra import files
from helpers.killed import kill

POINT = "KILL_AT"
"""The variable that names a point, how many times it is passed before, and what happens there:
`on_train_batch_end:3:TERM`."""
HOOKS = (
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_test_batch_end",
)
HALF_WRITTEN, RENAMED = "half_written", "renamed"
"""Of a checkpoint: half of it is in the draft; or it has just got its name."""
MILLISECONDS = "milliseconds"
"""Of training, wherever that is."""


def kill_workers() -> None:
    """The processes that prepare batches."""
    for process in psutil.Process().children():
        process.kill()


def fill_disk() -> None:
    """No file may grow any more beyond what metrics and records need."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


ACTIONS = {
    "KILL": kill,
    "TERM": lambda: signal.raise_signal(signal.SIGTERM),
    "WORKERS": kill_workers,
    "DISK": fill_disk,
}


class Kill(pl.Callback):
    """Acts at a point of a training."""

    def __init__(self) -> None:
        self.point, _, rest = os.environ.get(POINT, "").partition(":")
        left, _, action = rest.partition(":")
        self.act = ACTIONS[action or "KILL"]
        self._left = int(left or 0)
        if self.point in HOOKS:
            setattr(self, self.point, lambda *_, **__: self.passes())

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.point == HALF_WRITTEN:
            torch.save = self._half(torch.save)
        if self.point == RENAMED:
            files._sync_folder = self._renamed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.point == MILLISECONDS:
            left, self._left = self._left, 0
            timer = threading.Timer(left / 1000, self.passes)
            timer.daemon = True
            timer.start()

    def passes(self) -> None:
        if self._left == 0:
            self.act()
        self._left -= 1

    def _half(self, save: Callable[..., None]) -> Callable[..., None]:
        def save_half(value: Any, stream: Any) -> None:
            whole = io.BytesIO()
            save(value, whole)
            middle = len(whole.getvalue()) // 2
            stream.write(whole.getvalue()[:middle])
            stream.flush()
            self.passes()
            stream.write(whole.getvalue()[middle:])

        return save_half

    def _renamed(self, folder: Path) -> None:
        if folder.name == "checkpoints":
            self.passes()
