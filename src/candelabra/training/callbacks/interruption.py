"""Callback that handles Ctrl-C, SIGTERM and SIGHUP: finish the step, save the state, and exit."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from candelabra.errors import Ended, printable
from candelabra.processes import ending_signals, rank
from candelabra.training.callbacks.checkpoints import can_go_on_from_here, resume_checkpoint

AGAIN_AFTER_SECONDS = 2.0
"""Time after which a second signal exits at once; earlier, a launcher may have repeated it."""


class StopOnSignal(Checkpoint):
    """Callback that ends the process with status 128 + signal (129, 130 or 143) after the step.

    During a validation the process ends at once; a resumed run repeats the validation from the
    checkpoint written before it. The class derives from `Checkpoint` because Lightning calls
    checkpoint callbacks last, after all other callbacks have processed the step.

    Args:
        resume_command: Command that resumes the run, shown to the user.
    """

    def __init__(self, resume_command: str) -> None:
        super().__init__()
        self.resume_command = resume_command
        self._received: signal.Signals | None = None
        self._received_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers, replacing those of Lightning, which exit with status 0 or 1."""
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note) for number in ending_signals()
            }

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handlers, and end if a signal came after the last step."""
        self._give_back()
        self._leave_if_wanted(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the earlier signal handlers."""
        self._give_back()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Save and end after a signal, at points from which a run can resume."""
        if can_go_on_from_here(trainer, pl_module) and self._wanted(trainer):
            checkpoint = resume_checkpoint(trainer)
            if checkpoint is not None:
                checkpoint.save(trainer)
            self._leave(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End before a validation after a signal; the resume checkpoint is up to date."""
        self._leave_if_wanted(trainer)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """End within a validation after a signal if there is a single process.

        Several processes finish the validation, as each may be at a different batch.
        """
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
        """Return whether any process received a signal, so that all end after the same step."""
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
            message = f"candelabra: {received.name}: ended after step {trainer.global_step}; "
            checkpoint = resume_checkpoint(trainer)
            if checkpoint is None or not checkpoint.path.is_file():
                message += "nothing is saved"
            else:
                message += f"step {checkpoint.saved_step} is saved in {checkpoint.path}"
                message += f"\n  go on with: {self.resume_command}"
            print(printable(message), file=sys.stderr)
        raise Ended(128 + received)
