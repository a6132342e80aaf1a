"""What the options of `balancing`, `step`, `optimizer` and `scheduler` make of given numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from candelabra.build.schedule import build_schedule
from candelabra.build.trainer import build_module
from candelabra.data.mixing.schedule import Schedule
from candelabra.losses.classification import cross_entropy
from candelabra.model.freeze import FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.weighting.fixed import Fixed
from helpers.composing import OPTIONS, composed, words
from helpers.toys import LABELS, toy_model, toy_module

SIZES = {"sentiment": 40_000, "movie": 2_500}
FEW = {"sentiment": 400, "movie": 200}


def options(group: str) -> list[str]:
    return [name for name in OPTIONS if name.startswith(f"{group}/")]


def schedule_of(overrides: list[str], folder: Path, sizes: Mapping[str, int] = SIZES) -> Schedule:
    """The schedule of two tasks of given sizes, in steps of 100 examples."""
    cfg = composed(overrides, folder)
    splits = {
        task: SimpleNamespace(lengths=np.full(size, 9), texts=["one column"])
        for task, size in sizes.items()
    }
    return build_schedule(
        splits,  # type: ignore[arg-type]
        dict.fromkeys(sizes, SimpleNamespace(loss=cross_entropy)),  # type: ignore[arg-type]
        tasks=cfg.tasks,
        max_length=256,
        balancing=cfg.balancing,
        step=cfg.step,
        trainer=cfg.trainer,
        batch_size=100,
        seed=0,
    )


SHARES = {
    "proportional": (16 / 17, 16 / 17, 40_000 / 94),
    "equal": (1 / 2, 1 / 2, 40_000 / 50),
    "downsample": (1 / 2, 1 / 2, 2_500 / 50),
    "upsample": (1 / 2, 1 / 2, 40_000 / 50),
    "round_robin": (1 / 2, 1 / 2, 40_000 / 50),
    "temperature": (4 / 5, 4 / 5, 40_000 / 80),
    "capped": (4 / 5, 4 / 5, 2_500 / 20),
    "annealed": (16 / 17, 16**0.2 / (16**0.2 + 1), 40_000 / 94),
    "ratios": (1 / 2, 1 / 2, 40_000 / 50),
    "gap_driven": (1 / 2, 1 / 2, 40_000 / 50),
}
"""Option -> share of the larger task in the first and the last step, and steps of an epoch."""


@pytest.mark.parametrize("name", options("balancing"))
def test_balancing_gives_the_shares_of_its_formula(name: str, tmp_path: Path) -> None:
    schedule = schedule_of(words(name), tmp_path)
    first, last, steps = SHARES[name.partition("/")[2]]
    assert schedule.steps_per_epoch == math.ceil(steps)
    for step, share in ((0, first), (schedule.total_steps, last)):
        found = schedule.shares(step)
        assert found == pytest.approx({"sentiment": share, "movie": 1 - share})


def test_gaps_to_the_references_decide_the_shares(tmp_path: Path) -> None:
    schedule = schedule_of(words("balancing/gap_driven"), tmp_path)
    found = schedule.shares(0, {"sentiment": 0.8, "movie": 0.4})  # references: .9 and .7
    assert found == pytest.approx({"sentiment": 1 / 4, "movie": 3 / 4})


def test_ratios_decide_the_shares(tmp_path: Path) -> None:
    words = ["balancing=ratios", "+balancing.shares.ratios.movie=3"]
    found = schedule_of(words, tmp_path).shares(0)
    assert found == pytest.approx({"sentiment": 1 / 4, "movie": 3 / 4})


@pytest.mark.parametrize("name", options("step"))
@pytest.mark.parametrize("balancing", ["equal", "round_robin"])
def test_step_holds_every_task_or_one(name: str, balancing: str, tmp_path: Path) -> None:
    schedule = schedule_of([f"balancing={balancing}", *words(name)], tmp_path, FEW)
    counts = [{task: len(rows) for task, rows in schedule.batch(step).items()} for step in range(4)]
    assert all(sum(count.values()) == 100 for count in counts)
    if name == "step/joint":
        assert counts == [{"sentiment": 50, "movie": 50}] * 4
    elif balancing == "round_robin":
        assert [list(count) for count in counts] == [["sentiment"], ["movie"]] * 2
    else:
        assert {len(count) for count in counts} == {1}


RATES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "constant": lambda done: 1.0,
    "slanted_triangular": lambda done: (
        1 / 32 + 31 / 32 * (done / 0.1 if done < 0.1 else (1 - done) / 0.9)
    ),
}
"""Option -> factor of the learning rate after a part of the run."""


@pytest.mark.parametrize("name", options("scheduler"))
def test_scheduler_follows_its_curve(name: str, tmp_path: Path) -> None:
    cfg = composed(words(name), tmp_path)
    model = toy_model(freezer=Freezer(FreezeNothing()))
    model.freezer.apply(model, 0)  # type: ignore[union-attr]
    module = build_module(
        model,
        toy_module().objectives,
        Fixed(list(LABELS)),
        optimizer=cfg.optimizer,
        scheduler=cfg.scheduler,
        total_steps=40,
        seed=0,
        distill_frozen=0.0,
    )
    optimizer, scheduler = module.unfreezing.optimizer, module.unfreezing.scheduler
    for step in range(41):
        expected = 2e-4 * RATES[name.partition("/")[2]](step / 40)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", options("optimizer"))
def test_optimizer_steps_as_torch_does(name: str, tmp_path: Path) -> None:
    """With the values of the yaml: decay for matrices alone, one rate for all."""
    made = instantiate(composed(words(name), tmp_path).optimizer)
    model = toy_model(freezer=Freezer(FreezeNothing()))
    reference = toy_model()
    reference.load_state_dict(model.state_dict())
    parts: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for parameter in reference.parameters():
        parts[parameter.ndim > 1].append(parameter)
    adamw = partial(torch.optim.AdamW, lr=2e-4, betas=(0.9, 0.999), eps=1e-8)
    theirs = adamw(
        [
            {"params": parts[True], "weight_decay": 0.01},
            {"params": parts[False], "weight_decay": 0.0},
        ]
    )
    ours = made(model, Fixed(list(LABELS)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for one, other in zip(model.parameters(), reference.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        ours.step()
        theirs.step()
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value)
