"""Averaged weights: what they are, where they are judged and kept, and that a resume knows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from candelabra.training.callbacks.averaging import (
    ExponentialMovingAverage,
    StochasticWeightAveraging,
)
from helpers.toys import Splits, difference, fit, tiny, toy_model, toy_module, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty"),  # of a resume
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),  # one saves only
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint"),  # the sampler can
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),  # the average is not trained
]
STEPS = 16
AVERAGES: dict[str, Callable[[], pl.Callback]] = {
    "ema": lambda: ExponentialMovingAverage(decay=0.7),
    "swa": lambda: StochasticWeightAveraging(start=0.5),
}


class Trace(pl.Callback):
    """The weights after each step, and those that each validation sees."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.judged: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        self.steps.append(weights(pl_module))

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        self.judged.append(weights(pl_module))


def by_hand(name: str, steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if name == "swa":
        last = steps[STEPS // 2 :] or steps[-1:]
        return {key: torch.stack([step[key] for step in last]).mean(0) for key in steps[0]}
    found = steps[0]
    for step in steps[1:]:
        found = {key: 0.7 * found[key] + 0.3 * step[key] for key in step}
    return found


def run(toys: Splits, name: str, *callbacks: pl.Callback, **kwargs: Any) -> Any:
    module = toy_module(toy_model(tiny(dropout=0.3)), total_steps=STEPS)
    every = [*callbacks, AVERAGES[name]()]
    return fit(toys, module, max_epochs=2, callbacks=every, enable_checkpointing=True, **kwargs)


@pytest.mark.parametrize("name", AVERAGES)
def test_the_average_is_judged_kept_and_left_at_the_end(
    toys: Splits, tmp_path: Path, name: str
) -> None:
    trace = Trace()
    best = ModelCheckpoint(
        tmp_path, filename="best", monitor="val/score", mode="max", save_top_k=-1
    )
    module = run(toys, name, trace, best)
    expected = by_hand(name, trace.steps)
    for key, tensor in weights(module).items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(trace.judged[-1][key], expected[key], atol=1e-6, rtol=1e-5)
    halfway = by_hand(name, trace.steps[: STEPS // 2]) if name == "ema" else trace.steps[7]
    for key, tensor in trace.judged[0].items():
        torch.testing.assert_close(tensor, halfway[key], atol=1e-6, rtol=1e-5)
    assert difference(module, toy_module()) > 1e-3
    kept = [torch.load(file, weights_only=True) for file in sorted(tmp_path.glob("best*"))]
    assert len(kept) == 2
    states = [{k.removeprefix("model."): t for k, t in each["state_dict"].items()} for each in kept]
    assert any(
        all(torch.equal(state[key], trace.judged[-1][key]) for key in expected) for state in states
    )


@pytest.mark.parametrize("name", AVERAGES)
def test_a_resumed_run_equals_an_unbroken_one(toys: Splits, tmp_path: Path, name: str) -> None:
    every_step = {"every_n_train_steps": 1, "save_on_train_epoch_end": False}
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every_step)
    whole = run(toys, name, keep)
    for step in (3, 8, 11):
        resumed = run(toys, name, ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        assert difference(whole, resumed) == 0


@pytest.mark.parametrize("start", [-0.1, 1.0])
def test_a_start_outside_of_the_run_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match=r"start must lie from 0 to below 1, got"):
        StochasticWeightAveraging(start=start)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_keeps_all_or_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must lie between 0 and 1, got"):
        ExponentialMovingAverage(decay=decay)
