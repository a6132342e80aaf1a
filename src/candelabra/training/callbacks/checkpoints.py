"""What a resume needs, in one file that is always whole."""

from __future__ import annotations

import pickle
import signal
import threading
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
"""What reading one raises, by where the damage is."""


def read_checkpoint(path: Path, *, map_location: Any = None) -> dict[str, Any]:
    """Tensors and plain values; nothing in the file is executed.

    Raises:
        TrainingError: The file is missing, damaged or holds anything else.
    """
    try:
        _check_content(path)
        found = torch.load(path, map_location=map_location, weights_only=True)
    except DAMAGES as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(f"the checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise TrainingError(f"the checkpoint {path} cannot be read: it holds no dict")
    return found


def _check_content(path: Path) -> None:
    """Raise where a part is not as it was written, which torch does not look at.

    Each part of a checkpoint has a CRC-32, which notices any one or two flipped bits.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is no file")  # opening a pipe would wait for ever
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"damaged: the checksum of {damaged} differs")


@contextmanager
def deaths_wait() -> Iterator[None]:
    """A worker that dies is told afterwards.

    torch raises in whatever the main thread does at that time; inside `torch.save` that would be
    taken for a failed write, or end the process.
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
    """Lightning's files, but written whole or not at all, and read as data alone."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Replaces `path`.

        Raises:
            TrainingError: It cannot be written; what stood there before still does.
        """
        with deaths_wait():
            self._write(checkpoint, Path(path))

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        try:
            with replacing(path) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            # torch makes a RuntimeError of a full disk, which speaks of positions.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            stands = "the previous one stands" if path.exists() else "there is none yet"
            raise TrainingError(
                f"the checkpoint {path} could not be written ({reason}); {stands}"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """As `read_checkpoint`, whatever is asked."""
        return read_checkpoint(Path(path), map_location=map_location)


class ResumeCheckpoint(Checkpoint):
    """Writes `resume.ckpt` every few steps and before every validation.

    At the end of a step whose validation is still to come, Lightning would restart behind that
    validation. So there the file is written when the validation starts, and a resumed run begins
    with it. At an epoch's end without a validation Lightning would leave out what belongs to that
    end; there the next step is waited for.

    Args:
        dirpath: The folder of the file.
        every_n_train_steps: Optimizer steps between two writes.

    Attributes:
        path: The file.
        saved_step: The step that it holds, or that this process started from.
    """

    def __init__(self, *, dirpath: str | Path, every_n_train_steps: int = 500) -> None:
        super().__init__()
        if every_n_train_steps < 1:
            raise ValueError(
                "callbacks.checkpoint.every_n_train_steps must be 1 or more, "
                f"got {every_n_train_steps}"
            )
        self.path = Path(dirpath) / RESUME_FILE
        self.every_n_train_steps = every_n_train_steps
        self.saved_step = 0
        self._before_validation = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A step that a resumed run starts from is not written again, nor are its metrics."""
        self.saved_step = trainer.global_step
        for logger in trainer.loggers:
            if trainer.global_step and isinstance(logger, MetricsFile):
                logger.resume_at(trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Writes where a step is due, as soon as a run can go on from there."""
        every = self.every_n_train_steps
        due = trainer.global_step // every > self.saved_step // every
        if due and can_go_on_from_here(trainer, pl_module):
            self.save(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the state from which this validation is run again.

        Between the micro-batches of a step there is none: gradients are not stored.
        """
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fits and not internals.accumulates(trainer):
            self._before_validation = True
            self.save(trainer)
            self._before_validation = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tells Lightning whether a validation has begun, of which nothing is done."""
        loops = checkpoint["loops"]["fit_loop"]
        total = loops["epoch_loop.val_loop.batch_progress"]["total"]
        # Set, not added: a run that was resumed here before still has its own.
        total["ready"] = total["started"] = total["processed"] + self._before_validation
        checkpoint["accumulate_grad_batches"] = trainer.accumulate_grad_batches

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lightning counts micro-batches; now there may be more or fewer of them in a step."""
        before, now = checkpoint["accumulate_grad_batches"], trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            added = counts["ready"] // before * now - counts["ready"]
            counts.update({key: count + added for key, count in counts.items()})

    def save(self, trainer: pl.Trainer) -> None:
        """Writes the file, after the metrics of the steps that it holds."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.before_checkpoint(trainer)
            else:
                logger.save()
        trainer.save_checkpoint(self.path)
        self.saved_step = trainer.global_step


def can_go_on_from_here(trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
    """Whether a checkpoint at the end of the present batch holds all that came before it.

    So it is at the end of an optimizer step, unless a validation or the epoch's end follows.
    """
    assert isinstance(pl_module, MultiTaskModule)
    # The module counts a step after its callbacks were called.
    stepped = trainer.global_step > pl_module.steps_done
    ends = internals.epoch_ends(trainer)
    return stepped and not ends and not internals.validation_follows(trainer)


def resume_checkpoint(trainer: pl.Trainer) -> ResumeCheckpoint | None:
    """The callback that keeps the resume checkpoint; None where the run keeps none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ResumeCheckpoint):
            return callback
    return None
