"""Callback that keeps the checkpoint from which an interrupted run resumes."""

from __future__ import annotations

import pickle
import signal
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from candelabra.errors import TrainingError
from candelabra.files import replacing
from candelabra.training import internals
from candelabra.training.loggers.csv_file import MetricsFile
from candelabra.training.module import MultiTaskModule

RESUME_FILE = "resume.ckpt"
STEPS_PER_LOOK = 10
"""Steps between two looks at the clock, on which all processes have to agree."""
DAMAGES = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that reading a damaged checkpoint raises, depending on the damaged part."""


def read_checkpoint(path: Path, *, map_location: Any = None) -> dict[str, Any]:
    """Return the tensors and plain values of a checkpoint; nothing in the file is executed.

    Args:
        path: Checkpoint file.
        map_location: Device of the tensors, as in `torch.load`.

    Raises:
        TrainingError: If the file is missing, damaged, or contains other objects.
    """
    try:
        _check_content(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except DAMAGES as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(f"the checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(checkpoint, dict):
        raise TrainingError(f"the checkpoint {path} cannot be read: it must contain a dict")
    return checkpoint


def _check_content(path: Path) -> None:
    """Raise an error if a part of a checkpoint was changed, which PyTorch does not check.

    Each part of a checkpoint has a CRC-32, which detects any one or two flipped bits.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is not a file")  # opening a pipe would wait forever
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"damaged: the checksum of {damaged} differs")


@contextmanager
def deaths_wait() -> Iterator[None]:
    """Delay the errors of DataLoader workers that die inside the block until its end.

    PyTorch raises such an error in the main thread at once. Inside `torch.save` it would look like
    a failed write, or end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deaths: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGCHLD, lambda *death: deaths.append(death))
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
    if deaths and callable(before):
        before(*deaths[-1])


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all, read without executing code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, replacing an earlier one.

        Raises:
            TrainingError: If the file cannot be written; an earlier one is kept.
        """
        with deaths_wait():
            self._write(checkpoint, Path(path))

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        try:
            with replacing(path) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            # PyTorch reports a full disk as a RuntimeError about file positions.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            kept = "the previous one is kept" if path.exists() else "there is no earlier one"
            raise TrainingError(
                f"the checkpoint {path} could not be written ({reason}); {kept}"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return the checkpoint as `read_checkpoint` does, even if `weights_only` is false."""
        return read_checkpoint(Path(path), map_location=map_location)


class ResumeCheckpoint(Checkpoint):
    """Callback that writes `resume.ckpt` by steps and minutes, and before every validation.

    From a checkpoint of a step after which a validation follows, Lightning would resume behind the
    validation. Therefore such a checkpoint is written when the validation starts, and a resumed run
    begins with the validation. At the end of an epoch without a validation, Lightning would skip
    the hooks of that end. Therefore the checkpoint is written after the next step.

    Args:
        dirpath: Folder of the file.
        every_n_train_steps: Greatest number of optimizer steps between two checkpoints.
        minutes: Time after which the next one is due even if there were fewer steps.

    Attributes:
        path: Path of the file.
        saved_step: Step of the latest checkpoint, or the step that this process started from.
    """

    def __init__(
        self, *, dirpath: str | Path, every_n_train_steps: int = 500, minutes: float = 10.0
    ) -> None:
        super().__init__()
        if every_n_train_steps < 1:
            raise ValueError(f"every_n_train_steps must be 1 or more, got {every_n_train_steps}")
        if not minutes > 0:
            raise ValueError(f"minutes must be more than 0, got {minutes}")
        self.path = Path(dirpath) / RESUME_FILE
        self.every_n_train_steps = every_n_train_steps
        self.minutes = minutes
        self.saved_step = 0
        self._saved_at = time.monotonic()
        self._late = False
        self._before_validation = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the step that a resumed run starts from, so that nothing of it is written again."""
        self.saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        for logger in trainer.loggers:
            if trainer.global_step and isinstance(logger, MetricsFile):
                logger.resume_at(trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Save if a checkpoint is due, at the first step from which a run can resume."""
        if self._due(trainer) and can_go_on_from_here(trainer, pl_module):
            self.save(trainer)

    def _due(self, trainer: pl.Trainer) -> bool:
        every, step = self.every_n_train_steps, trainer.global_step
        if not self._late and step % STEPS_PER_LOOK == 0:
            late = time.monotonic() - self._saved_at >= 60 * self.minutes
            self._late = trainer.strategy.broadcast(late)
        return self._late or step // every > self.saved_step // every

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the state from which a resumed run repeats this validation.

        Nothing is saved between the micro-batches of a step, since gradients are not stored.
        """
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fits and not internals.accumulates(trainer):
            self._before_validation = True
            self.save(trainer)
            self._before_validation = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store whether a validation has started, so that Lightning resumes at its beginning."""
        loops = checkpoint["loops"]["fit_loop"]
        total = loops["epoch_loop.val_loop.batch_progress"]["total"]
        # Set the count instead of adding to it: a run that was resumed here has counted it already.
        total["ready"] = total["started"] = total["processed"] + self._before_validation
        checkpoint["accumulate_grad_batches"] = trainer.accumulate_grad_batches

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adjust Lightning's counts of micro-batches if their number per step has changed."""
        before, now = checkpoint.get("accumulate_grad_batches"), trainer.accumulate_grad_batches
        if not isinstance(before, int) or before < 1:
            raise TrainingError(
                f"the checkpoint {trainer.ckpt_path}: accumulate_grad_batches must be a number "
                f"above 0, is {before!r}"
            )
        try:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"the checkpoint {trainer.ckpt_path} lacks the progress of its epoch"
            ) from error
        for counts in (progress["total"], progress["current"]):
            added = counts["ready"] // before * now - counts["ready"]
            counts.update({key: count + added for key, count in counts.items()})

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint, after the metrics of the steps that it includes."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.before_checkpoint(trainer)
            else:
                logger.save()
        trainer.save_checkpoint(self.path)
        self.saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        self._late = False


def can_go_on_from_here(trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
    """Return whether a run can resume from a checkpoint at the end of the current micro-batch.

    It can at the end of an optimizer step, unless a validation or the end of the epoch follows.
    """
    assert isinstance(pl_module, MultiTaskModule)
    # The module counts a step only after the callbacks.
    stepped = trainer.global_step > pl_module.steps_done
    ends = internals.epoch_ends(trainer)
    return stepped and not ends and not internals.validation_follows(trainer)


def resume_checkpoint(trainer: pl.Trainer) -> ResumeCheckpoint | None:
    """Return the callback that writes the resume checkpoint, or `None` if the run has none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ResumeCheckpoint):
            return callback
    return None
