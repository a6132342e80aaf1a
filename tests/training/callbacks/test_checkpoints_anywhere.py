"""A run goes on from every single checkpoint that it wrote, as if it had never been broken."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from candelabra.data.mixing.balancing import gap_driven
from candelabra.data.mixing.steps import alternate
from candelabra.training.callbacks.checkpoints import (
    RESUME_FILE,
    AtomicCheckpointIO,
    ResumeCheckpoint,
)
from candelabra.training.callbacks.mixing_report import MixingReport
from candelabra.training.callbacks.non_finite import NonFiniteGuard
from candelabra.training.loggers.csv_file import MetricsFile
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import linear
from candelabra.weighting.uncertainty import Uncertainty
from helpers.toys import LABELS, Splits, tiny, toy_data, toy_model, toy_module, toy_trainer

GAP = partial(gap_driven, references={"mood": 0.9, "who": 0.9})


@dataclass(frozen=True)
class Case:
    """How a run is trained, and at which steps its resume checkpoint is written."""

    written: list[int]
    trainer: Mapping[str, Any]
    data: Mapping[str, Any]
    every: int = 1
    uncertainty: bool = False
    patience: int | None = None

    @property
    def module(self) -> MultiTaskModule:
        weighting = Uncertainty(list(LABELS), lr=0.05) if self.uncertainty else None
        return toy_module(
            toy_model(tiny(dropout=0.3)),
            scheduler=partial(linear, warmup_steps=2),
            total_steps=20,
            **({"weighting": weighting} if weighting else {}),
        )


def case(written: list[int], steps: int, *, max_epochs: int = 2, **kwargs: Any) -> Case:
    """Epochs of so many steps; other settings go where they belong."""
    own = {key: kwargs.pop(key) for key in ("every", "uncertainty", "patience") if key in kwargs}
    data = {key: kwargs.pop(key) for key in ("shares", "step") if key in kwargs}
    trainer = {"max_epochs": max_epochs, **kwargs}
    return Case(written, trainer, {"steps_per_epoch": steps, **data}, **own)


CASES = {
    "validation at each end": case([2, 3, 4, 6], 3, every=2),
    # Micro-batches 3 and 6 are followed by a validation; 3 ends no step.
    "validation inside a step": case(
        [1, 2, 3, 4, 5, 6], 3, accumulate_grad_batches=2, val_check_interval=3
    ),
    # Nothing is written at an epoch's end without a validation.
    "validation before the end": case([1, 2, 4, 5], 3, val_check_interval=2, shares=GAP),
    "validation every other epoch": case(
        [1, 3, 4, 5], 2, max_epochs=3, check_val_every_n_epoch=2, accumulate_grad_batches=2
    ),
    "no validation": case([1, 2, 4, 5], 3, limit_val_batches=0),
    "one task a step": case(
        [2, 3, 5, 6, 7], 4, every=2, step=alternate, uncertainty=True, val_check_interval=3
    ),
}
SLOW_CASES = {
    "validation at each step": case([1, 2, 3, 4, 5, 6], 3, val_check_interval=1),
    "validation over epochs": case(
        [1, 2, 3, 4, 6, 7, 8, 9], 5, val_check_interval=4, check_val_every_n_epoch=None
    ),
    "no validation, accumulated": case(
        [1, 2, 4, 5], 3, limit_val_batches=0, accumulate_grad_batches=3
    ),
    "shares follow the scores": case([1, 2, 3, 4, 5, 6, 7, 8, 9], 3, max_epochs=3, shares=GAP),
    "now and then": case([3, 5, 6, 9, 10, 12, 15], 5, max_epochs=3, every=3),
    "now and then, inside a step": case(
        [2, 3, 4, 6, 8], 5, every=2, accumulate_grad_batches=2, val_check_interval=3
    ),
    "stopped early": case(
        [step for step in range(1, 45) if step % 5],
        5,
        max_epochs=9,
        val_check_interval=2,
        patience=3,
    ),
    "bf16": case([1, 2, 3, 4, 5, 6], 3, precision="bf16-mixed", uncertainty=True),
}


class KeepingIO(AtomicCheckpointIO):
    """Keeps the whole run folder as it was after each write of the resume checkpoint."""

    def __init__(self, run: Path, kept: Path) -> None:
        super().__init__()
        self.run = run
        self.kept = kept
        self.steps: list[int] = []

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        if Path(path).name == RESUME_FILE:
            shutil.copytree(self.run, self.kept / str(len(self.steps)))
            self.steps.append(checkpoint["steps_done"])


def train(case: Case, toys: Splits, run: Path, kept: Path, start: Path | None = None) -> Any:
    """Trains in `run`; returns the steps at which it wrote, and the trained module."""
    best = ModelCheckpoint(
        run,
        filename="best",
        monitor="val/score",
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    callbacks: list[Any] = [LearningRateMonitor("step"), MixingReport(), NonFiniteGuard()]
    callbacks.append(ResumeCheckpoint(dirpath=run, every_n_train_steps=case.every))
    callbacks += [best] if case.trainer.get("limit_val_batches") != 0 else []
    if case.patience is not None:
        callbacks.append(EarlyStopping("val/score", mode="max", patience=case.patience))
    io = KeepingIO(run, kept)
    trainer = toy_trainer(
        callbacks=callbacks,
        logger=[MetricsFile(folder=run)],
        plugins=[io],
        enable_checkpointing=True,
        log_every_n_steps=1,
        **case.trainer,
    )
    module = case.module
    data = toy_data(toys, **case.data)
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    return io.steps, module


def stored(file: Path) -> dict[str, Any]:
    """A checkpoint without what Lightning does not restore, and nobody reads."""
    found = torch.load(file, weights_only=True)
    for state in found.get("callbacks", {}).values():
        state.pop("current_score", None)
    return found


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), [other[key] for key in one]
    if isinstance(one, torch.Tensor):
        assert one.equal(other)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")  # that is a resume
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name) for name, case in CASES.items()]
    + [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in SLOW_CASES.items()],
)
def test_a_run_goes_on_from_every_checkpoint(case: Case, toys: Splits, tmp_path: Path) -> None:
    run, kept, whole = (tmp_path / name for name in ("run", "kept", "whole"))
    steps, module = train(case, toys, run, kept)
    if case.patience is None:
        assert steps == case.written
    else:
        assert steps == case.written[: len(steps)]
        assert len(steps) < len(case.written), "it did not stop early"
    run.rename(whole)
    for number, step in enumerate(steps):
        # Killed at once, or when more rows and a better checkpoint had been written.
        shutil.copytree(whole if number % 2 else kept / str(number), run)
        shutil.copy(kept / str(number) / RESUME_FILE, tmp_path / "from.ckpt")
        again = tmp_path / f"from {step}"
        later, resumed = train(case, toys, run, again, tmp_path / "from.ckpt")
        assert resumed.steps_done == module.steps_done
        assert_same(resumed.state_dict(), module.state_dict())
        assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
        if (whole / "best.ckpt").exists():
            best = [stored(folder / "best.ckpt") for folder in (run, whole)]
            for key in ("state_dict", "scores"):
                assert_same(best[0][key], best[1][key])
        # What it writes itself is the same too: it may be killed again.
        assert later in (steps[number:], steps[number + 1 :])
        for place in range(len(later)):
            ours, theirs = again / str(place), kept / str(len(steps) - len(later) + place)
            assert_same(stored(ours / RESUME_FILE), stored(theirs / RESUME_FILE))
        shutil.rmtree(run)
