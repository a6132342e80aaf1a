"""Ctrl-C and SIGTERM: the step is finished, the state saved, and the process ends."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from candelabra.errors import Ended
from candelabra.launching import rank
from candelabra.training.checkpoints import can_go_on_from_here, resume_checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_AFTER_SECONDS = 2.0
"""A launcher may pass one Ctrl-C on a second time; later it means that nobody wants to wait."""


class StopOnSignal(Checkpoint):
    """Ends the process with status 128 + signal (130, 143) at the next step's end.

    In a validation it ends at once: the checkpoint written before it starts it again. A Checkpoint,
    since Lightning calls those last, when the step has been seen by all others.

    Args:
        resume_command: What a person types to go on.
    """

    def __init__(self, resume_command: str) -> None:
        super().__init__()
        self.resume_command = resume_command
        self._received: signal.Signals | None = None
        self._received_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over, from Lightning too, which would exit with status 0 or 1."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends, where a signal came too late for a step's end, and gives the signals back."""
        self._give_back()
        self._leave_if_wanted(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Gives the signals back."""
        self._give_back()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Saves and ends, where a run can go on from."""
        if can_go_on_from_here(trainer, pl_module) and self._wanted(trainer):
            checkpoint = resume_checkpoint(trainer)
            if checkpoint is not None:
                checkpoint.save(trainer)
            self._leave(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends before a validation; the resume checkpoint was written just now."""
        self._leave_if_wanted(trainer)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Ends in a validation; several processes go on, as each may be at another batch."""
        if trainer.world_size == 1:
            self._leave_if_wanted(trainer)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if (
            self._received is not None
            and time.monotonic() - self._received_at > AGAIN_AFTER_SECONDS
        ):
            raise SystemExit(128 + number)
        if self._received is None:
            self._received, self._received_at = signal.Signals(number), time.monotonic()
            if rank() == 0:
                print(f"\ncandelabra: {self._received.name}: finishing the step", file=sys.stderr)

    def _wanted(self, trainer: pl.Trainer) -> bool:
        """Whether any process got a signal: all have to end after the same step."""
        here = self._received is not None
        if trainer.world_size == 1:
            return here
        return trainer.strategy.reduce_boolean_decision(here, all=False)

    def _leave_if_wanted(self, trainer: pl.Trainer) -> None:
        if self._wanted(trainer):
            self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        received = self._received or signal.SIGTERM
        if trainer.is_global_zero:
            said = f"candelabra: {received.name}: ended after step {trainer.global_step}; "
            checkpoint = resume_checkpoint(trainer)
            if checkpoint is None or not checkpoint.path.is_file():
                said += "nothing is saved"
            else:
                said += f"step {checkpoint.saved_step} is saved in {checkpoint.path}"
                said += f"\n  go on with: {self.resume_command}"
            print(said, file=sys.stderr)
        raise Ended(128 + received)
