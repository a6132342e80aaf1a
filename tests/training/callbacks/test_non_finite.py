"""A loss that is no number: what is said, and what is kept."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from candelabra.data.mixing.balancing import gap_driven
from candelabra.data.mixing.steps import alternate
from candelabra.errors import TrainingError
from candelabra.losses.classification import cross_entropy
from candelabra.training.callbacks.checkpoints import (
    RESUME_FILE,
    AtomicCheckpointIO,
    ResumeCheckpoint,
)
from candelabra.training.callbacks.non_finite import NonFiniteGuard
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw
from helpers.toys import Splits, difference, fit, toy_data, toy_module, weights

GAP = partial(gap_driven, references={"mood": 0.9, "who": 0.9})


class Spoil(pl.Callback):
    """Makes the loss of a task, or the gradients, bad in some steps; keeps the last good state."""

    def __init__(self, task: str, *steps: int, value: float = float("nan")) -> None:
        self.task = task
        self.steps = steps
        self.value = value
        self.before: dict[int, Any] = {}
        self.bad = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        if self.task in pl_module.objectives:
            objective = pl_module.objectives[self.task]
            pl_module.objectives[self.task] = replace(objective, loss=self._loss)
        for parameter in pl_module.model.heads.parameters():
            parameter.register_hook(self._gradient)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        self.bad = step in self.steps
        optimizer = copy.deepcopy(trainer.optimizers[0].state_dict())
        module = trainer.lightning_module
        assert isinstance(module, MultiTaskModule)
        self.before.setdefault(step, (weights(module), optimizer))

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets) * (self.value if self.bad else 1.0)

    def _gradient(self, gradient: Tensor) -> Tensor:
        bad = self.bad and self.task == "the gradient"
        return torch.full_like(gradient, self.value) if bad else gradient


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one.equal(other)) if isinstance(one, Tensor) else one == other


def rows_said(error: object) -> list[int]:
    numbers = str(error).partition("with rows ")[2].partition(" of its training data")[0]
    return [int(row) for row in numbers.split(", ")]


@pytest.mark.parametrize(
    ("task", "step", "data", "accumulate", "value"),
    [
        ("mood", 2, {}, 1, "nan"),
        ("who", 2, {}, 2, "inf"),
        ("who", 5, {"shares": GAP}, 1, "-inf"),  # its epoch's shares follow the scores before it
        ("mood", 5, {"step": alternate, "turns": "cycled"}, 2, "nan"),
    ],
)
def test_stop_names_task_step_and_rows(
    toys: Splits, task: str, step: int, data: dict[str, Any], accumulate: int, value: str
) -> None:
    settings = {"steps_per_epoch": 3, **data}
    module, spoil = toy_module(), Spoil(task, step, value=float(value))
    with pytest.raises(TrainingError) as caught:
        fit(
            toys,
            module,
            data=settings,
            max_epochs=3,
            accumulate_grad_batches=accumulate,
            callbacks=[spoil, NonFiniteGuard()],
        )
    said = str(caught.value)
    assert f"the loss of task '{task}' is not a finite number in step {step + 1}, with rows" in said
    assert "callbacks.finite.action=skip" in said
    schedule = toy_data(toys, **settings).schedule
    assert schedule is not None
    assert rows_said(said) == sorted(schedule.batch(step, module.epoch_scores)[task])
    assert same(weights(module), spoil.before[step][0]), "the step was not taken"


@pytest.mark.parametrize("clip", [1.0, None])
def test_stop_keeps_the_last_good_checkpoint(
    toys: Splits, tmp_path: Path, clip: float | None
) -> None:
    """Also where only the gradients are bad, which shows once they are summed."""
    for task, step in (("mood", 3), ("the gradient", 3), ("the gradient", 7)):
        folder = tmp_path / f"{task} {step}"
        callbacks = [Spoil(task, step), NonFiniteGuard()]
        with pytest.raises(TrainingError, match=f"in step {step + 1}, with") as caught:
            fit(
                toys,
                max_epochs=1,
                gradient_clip_val=clip,
                enable_checkpointing=True,
                plugins=[AtomicCheckpointIO()],
                callbacks=[*callbacks, ResumeCheckpoint(dirpath=folder, every_n_train_steps=1)],
            )
        assert task in str(caught.value)
        stored = torch.load(folder / RESUME_FILE, weights_only=True)
        assert stored["steps_done"] == step
        assert all(tensor.isfinite().all() for tensor in stored["state_dict"].values())


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_bad_last_step_gives_no_model(toys: Splits, clip: float | None) -> None:
    with pytest.raises(TrainingError, match="the gradient is not finite in step 8"):
        fit(
            toys,
            gradient_clip_val=clip,
            limit_val_batches=0,
            callbacks=[Spoil("the gradient", 7), NonFiniteGuard()],
        )


@pytest.mark.parametrize("task", ["mood", "the gradient"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_skip_leaves_the_step_out_and_goes_on(
    toys: Splits, caplog: pytest.LogCaptureFixture, task: str, accumulate: int
) -> None:
    module, spoil, finite = toy_module(), Spoil(task, 2, 5), NonFiniteGuard("skip")
    fit(
        toys,
        module,
        gradient_clip_val=1.0,
        accumulate_grad_batches=accumulate,
        callbacks=[spoil, finite],
    )
    for bad in (2, 5):
        assert same(spoil.before[bad], spoil.before[bad + 1])
    assert not same(spoil.before[3], spoil.before[4])
    assert module.steps_done == 8
    assert finite.skipped == 2
    assert all(tensor.isfinite().all() for tensor in weights(module).values())
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    named = "the loss of task 'mood'" if task == "mood" else "the gradient"
    for step in (3, 6):
        assert [line for line in said if named in line and f"in step {step}" in line]
    assert len([line for line in said if "left out" in line]) == 2


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_skipped_steps_are_counted_and_a_resume_goes_on(toys: Splits, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    class StopAt(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 5:
                raise StoppedError

    def callbacks(*more: pl.Callback) -> dict[str, Any]:
        resume = ResumeCheckpoint(dirpath=tmp_path, every_n_train_steps=2)
        own = [Spoil("who", 1, 6), NonFiniteGuard("skip"), resume, *more]
        return {"callbacks": own, "enable_checkpointing": True, "plugins": [AtomicCheckpointIO()]}

    whole = fit(toys, **callbacks())
    (tmp_path / RESUME_FILE).unlink()
    with pytest.raises(StoppedError):
        fit(toys, **callbacks(StopAt()))
    resumed = toy_module()
    fit(toys, resumed, ckpt_path=str(tmp_path / RESUME_FILE), **callbacks())
    assert difference(whole, resumed) == 0
    assert float(resumed.trainer.callback_metrics["train/skipped_steps"]) == 2


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_float16_leaves_infinite_gradients_to_its_scaler(toys: Splits, action: str) -> None:
    """A scale that is too large is no fault: the step is left out, and the scale halved."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    module, finite = toy_module(optimizer=partial(adamw, lr=1e-3)), NonFiniteGuard(action)
    spoil = Spoil("the gradient", 1, value=float("inf"))
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    fit(toys, module, gradient_clip_val=1.0, callbacks=[spoil, finite], plugins=plugins)
    assert same(spoil.before[1], spoil.before[2])
    assert not same(spoil.before[7], spoil.before[6])
    assert scaler.get_scale() == 2.0**9
    assert all(tensor.isfinite().all() for tensor in weights(module).values())


def test_float16_stops_at_a_bad_loss(toys: Splits) -> None:
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))]
    with pytest.raises(TrainingError, match="task 'who' is not a finite number in step 3"):
        fit(toys, callbacks=[Spoil("who", 2), NonFiniteGuard()], plugins=plugins)


def test_the_action_is_stop_or_skip() -> None:
    with pytest.raises(ValueError, match=r"action must be stop or skip, got 'ignore'"):
        NonFiniteGuard("ignore")
