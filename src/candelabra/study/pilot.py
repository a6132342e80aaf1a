"""Measure the cost of a study with short runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.table import Table

from candelabra.config.grammar import quoted
from candelabra.errors import ConfigError
from candelabra.files import read_json
from candelabra.study.composing import composed
from candelabra.study.launching import unfinished
from candelabra.study.terms import read_data, read_schedule

if TYPE_CHECKING:
    from candelabra.study.plan import Plan
    from candelabra.study.tuning import Trial

STEPS = 20
"""Optimizer steps of a pilot run."""
SHORT = (
    f"trainer.limit_train_batches={STEPS}",
    "trainer.max_epochs=1",
    "trainer.limit_val_batches=0",
    "trainer.val_check_interval=null",
    "callbacks=plain",
    "~callbacks.best",
    "logger=none",
    "test=false",
)


@dataclass(frozen=True)
class RunCost:
    """Cost of a run, extrapolated from a few steps.

    Attributes:
        seconds: Time of the start and of all optimizer steps, without validation and test.
        num_bytes: Size of the run folder.
    """

    seconds: float
    num_bytes: int


def pilot(overrides: Sequence[str], flags: Sequence[str] = ()) -> RunCost:
    """Train a few steps in a separate process and folder, and extrapolate.

    Args:
        overrides: Overrides of the run.
        flags: Flags of the command, such as `--config-dir FOLDER`.

    Raises:
        ConfigError: The pilot failed. The message contains the last line of its output.
    """
    cfg = composed(overrides)
    schedule = read_schedule(cfg, read_data(cfg))
    with TemporaryDirectory() as place:
        folder = Path(place) / "pilot"
        words = [*overrides, *SHORT, f"hydra.run.dir={quoted(str(folder))}", *flags]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "candelabra", "train", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        record = read_json(folder / "run.json")
        if done.returncode != 0 or not record.get("steps"):
            lines = done.stderr.strip().splitlines() or ["no message"]
            message = lines[-1].removeprefix("candelabra: error: ")
            raise ConfigError(f"the pilot run failed: {message}")
        start, step = seconds - record["fit_seconds"], record["fit_seconds"] / record["steps"]
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return RunCost(start + step * schedule.total_steps, size)


def plan_table(
    plan: Plan, tried: Sequence[Trial], runs_dir: Path, flags: Sequence[str] = ()
) -> Table:
    """Time each kind of run that is not finished, and return the table of the plan.

    Args:
        plan: The plan.
        tried: Trials of learning rates, which are trained before the runs of the plan.
        runs_dir: Folder of the run folders.
        flags: Flags of the command, such as `--config-dir FOLDER`.
    """
    table = Table(title="plan", title_justify="left", caption_justify="left")
    for column in ("arm", "runs", "to train", "minutes", "MB"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    runs = [*(one.run for one in tried), *plan.runs]
    todo = {run.folder for run in unfinished(runs, runs_dir)}
    counted: set[str] = set()
    total = [0, 0, 0.0, 0.0]
    for arm in plan.arms:
        of_arm = [run for run in runs if run.arm == arm.name]
        own = [run for run in of_arm if run.folder in todo - counted]
        counted |= {run.folder for run in own}
        minutes = size = 0.0
        for task in dict.fromkeys(run.task for run in own):
            same = [run for run in own if run.task == task]
            words = arm.name if task is None else f"{arm.name}, {task}"
            print(f"timing a few steps of {words}", file=sys.stderr, flush=True)
            cost = pilot(same[0].overrides, flags)
            minutes += cost.seconds / 60 * len(same)
            size += cost.num_bytes / 1e6 * len(same)
        numbers = [len(of_arm), len(own), minutes, size]
        total = [one + other for one, other in zip(total, numbers, strict=True)]
        table.add_row(arm.name, *_words(numbers))
    table.add_row("all", *_words(total))
    table.caption = (
        "minutes: start and optimizer steps, one run after the other, without validation and test. "
        "An equal run of another arm or study is trained once."
    )
    return table


def _words(numbers: Sequence[float]) -> list[str]:
    runs, todo, minutes, size = numbers
    return [f"{runs:.0f}", f"{todo:.0f}", f"{minutes:.1f}", f"{size:.0f}"]
