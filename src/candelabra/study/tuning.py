"""Choose the learning rate of each arm on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from candelabra.errors import ConfigError
from candelabra.files import read_json
from candelabra.study.arms import Arm, StudyRun
from candelabra.study.composing import composed
from candelabra.study.loading import training_seconds
from candelabra.study.plan import parts_of, runs_with_seeds
from candelabra.study.terms import Terms

FACTOR = 3.0
"""Ratio of two neighbouring learning rates."""


@dataclass(frozen=True)
class Trial:
    """One learning rate that is tried.

    Attributes:
        rate: The learning rate.
        run: Run that tries it, without using the test split.
    """

    rate: float
    run: StudyRun


def learning_rates(rate: float, num: int) -> list[float]:
    """Return learning rates around a given one, a factor of 3 apart, in ascending order.

    Args:
        rate: Learning rate in the middle.
        num: Number of learning rates.

    Example:
        >>> learning_rates(3e-4, 3)
        [0.0001, 0.0003, 0.0009]
    """
    return [float(f"{rate * FACTOR ** (place - (num - 1) / 2):.3g}") for place in range(num)]


def trials(arms: Sequence[Arm], terms: Terms, num: int, *, seed: int) -> list[Trial]:
    """Return the trials of all arms.

    Args:
        arms: Arms of the study.
        terms: Terms that all arms share.
        num: Number of learning rates for each model of an arm; 0 tries none.
        seed: Seed of the runs.

    Raises:
        ConfigError: A setting of an arm is wrong.
    """
    if num == 0:
        return []
    found = []
    for arm in arms:
        for task, words in parts_of(arm, terms):
            for rate in learning_rates(composed(words).optimizer.lr, num):
                tried = (*words, "test=false", f"optimizer.lr={rate}")
                found += [Trial(rate, run) for run in runs_with_seeds(arm, task, tried, [seed])]
    return found


def best_rates(tried: Sequence[Trial], runs_dir: Path) -> dict[tuple[str, str | None], float]:
    """Return the learning rate with the best validation score for each model of each arm.

    A rate whose run failed, such as one that is too high, is passed over.

    Args:
        tried: Trials of all arms.
        runs_dir: Folder of the run folders.

    Raises:
        ConfigError: No trial of a model finished.
    """
    best: dict[tuple[str, str | None], tuple[float, float]] = {}
    for trial in tried:
        score = read_json(runs_dir / trial.run.folder / "metrics.json").get("val/score")
        key = (trial.run.arm, trial.run.task)
        if score is not None and (key not in best or score > best[key][0]):
            best[key] = (score, trial.rate)
    for trial in tried:
        if (trial.run.arm, trial.run.task) not in best:
            raise ConfigError(
                f"study.tune: no learning rate of arm {trial.run.arm} was trained to the end; see "
                f"{runs_dir / trial.run.folder / 'run.log'}"
            )
    return {key: rate for key, (_, rate) in best.items()}


def tuning_seconds(tried: Sequence[Trial], runs_dir: Path, arm: str) -> float:
    """Return the training time of all trials of an arm.

    Args:
        tried: Trials of all arms.
        runs_dir: Folder of the run folders.
        arm: Name of the arm.
    """
    records = [
        read_json(runs_dir / one.run.folder / "run.json") for one in tried if one.run.arm == arm
    ]
    return sum(training_seconds(record) or 0.0 for record in records)
