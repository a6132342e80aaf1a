"""The arms of a study and their runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candelabra.errors import ConfigError
from candelabra.study.terms import Exposure

NOT_IDENTITY = ("group", "tags", "logger", "paths", "num_workers")
"""Keys that do not change the trained model. Runs that differ only in these are the same run."""


@dataclass(frozen=True)
class Arm:
    """One of the alternatives that a study compares.

    Attributes:
        name: Name of the arm.
        overrides: Overrides of `candelabra train` that make the arm.
        one_model_per_task: Whether each task is trained in a separate run.
        differs: Settings that are not equal to those of the other arms, in words; empty if all are.
    """

    name: str
    overrides: tuple[str, ...] = ()
    one_model_per_task: bool = False
    differs: str = ""


@dataclass(frozen=True)
class StudyRun:
    """One training of a study.

    Attributes:
        arm: Name of the arm.
        seed: Seed of the run.
        task: The task that is trained alone; `None` for a model of all tasks.
        overrides: Overrides of `candelabra train`.
        folder: Name of the run folder, a hash of the configuration. Equal runs of several arms or
            studies share a folder.
    """

    arm: str
    seed: int
    task: str | None
    overrides: tuple[str, ...]
    folder: str


def read_arms(arms: Mapping[str, Mapping[str, Any]], baseline: str) -> list[Arm]:
    """Return the arms of a study's yaml, the baseline first.

    Args:
        arms: Settings of each arm, by name.
        baseline: Name of the arm that the others are compared with.

    Raises:
        ConfigError: There are fewer than two arms, the baseline is not among them, or a setting
            of an arm is unknown.

    Example:
        >>> [arm.name for arm in read_arms({"a": {}, "b": {"overrides": ["seed=1"]}}, "b")]
        ['b', 'a']
    """
    if len(arms) < 2:
        raise ConfigError(f"study.arms must be two or more arms, got {', '.join(arms) or 'none'}")
    if baseline not in arms:
        raise ConfigError(
            f"study.baseline must be one of the arms {', '.join(arms)}, got {baseline!r}"
        )
    made = []
    for name in sorted(arms, key=lambda name: name != baseline):
        settings = dict(arms[name] or {})
        overrides = tuple(str(word) for word in settings.pop("overrides", ()))
        alone = settings.pop("one_model_per_task", False)
        differs = settings.pop("differs", "")
        if settings:
            raise ConfigError(
                f"study.arms.{name}: no key '{next(iter(settings))}' "
                "(keys: overrides, one_model_per_task, differs)"
            )
        made.append(Arm(name, overrides, bool(alone), str(differs)))
    return made


def alone_overrides(task: str, tasks: Sequence[str], exposure: Exposure, epochs: int) -> list[str]:
    """Return the overrides that train one task alone, as often as a shared run trains it.

    Args:
        task: Name of the task.
        tasks: Names of all tasks of the shared run.
        exposure: Exposure of the task in the shared run.
        epochs: Number of epochs of the run.

    Example:
        >>> words = alone_overrides("a", ["a", "b"], Exposure(examples=80, steps=20), epochs=2)
        >>> words[0], words[-2:]
        ('~tasks.b', ['balancing.steps_per_epoch=10', 'batch_size=4'])
    """
    return [
        *(f"~tasks.{other}" for other in tasks if other != task),
        # A run of one task must not have shares of other tasks, as balancing=ratios has.
        "~balancing.shares",
        "+balancing.shares._target_=candelabra.data.mixing.proportional",
        "+balancing.shares._partial_=true",
        "balancing.epoch=steps",
        f"balancing.steps_per_epoch={max(1, round(exposure.steps / epochs))}",
        f"batch_size={max(1, round(exposure.examples / exposure.steps))}",
    ]


def run_folder(config: Mapping[str, Any]) -> str:
    """Return the name of a run's folder, a hash of its configuration.

    Args:
        config: Configuration of the run as plain values. Settings that do not change the trained
            model, such as the logger, are left out of the hash.
    """
    identity = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
