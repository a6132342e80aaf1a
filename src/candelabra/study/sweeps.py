"""Read the trials of a finished sweep as the arms of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from candelabra.errors import ConfigError
from candelabra.files import read_json
from candelabra.study.inputs import ArmRuns
from candelabra.study.loading import load_arm

DEFAULT = "default"
"""Name of the arm of the trials without an override of the key."""


def load_sweep(folder: Path, key: str) -> list[ArmRuns]:
    """Load the trials of a sweep, one arm for each value of an override.

    Args:
        folder: Folder of the sweep.
        key: Key of the override whose values are compared, such as `freeze`.

    Raises:
        ConfigError: The folder has no trials, no trial sets the key, or two trials of an arm have
            the same seed or differ in another setting.
        DataError: A file of a trial is damaged.
    """
    trials = {
        run.parent: overrides_of(run) for run in sorted(folder.glob("*/run.json"), key=_number)
    }
    if not trials:
        raise ConfigError(f"from={folder}: no trials; it must be the folder of a sweep")
    if not any(key in overrides for overrides in trials.values()):
        varied = ", ".join(sorted({name for each in trials.values() for name in each}))
        raise ConfigError(
            f"arms={key}: no trial of {folder} sets it; its trials set {varied or 'nothing'}"
        )
    found: dict[str, dict[int, Path]] = {}
    for trial, overrides in trials.items():
        arm, seed = overrides.get(key, DEFAULT), _seed(trial)
        of_arm = found.setdefault(arm, {})
        first = next(iter(of_arm.values()), trial)
        names = {*overrides, *trials[first]} - {"seed"}
        differs = [name for name in names if overrides.get(name) != trials[first].get(name)]
        other = first if differs else of_arm.setdefault(seed, trial)
        if other != trial:
            raise ConfigError(
                f"arms={key}: trials {other.name} and {trial.name} are both {arm}"
                + (f", but differ in {', '.join(sorted(differs))}" if differs else f", seed {seed}")
                + "; the trials of an arm may differ in the seed alone"
            )
    return [
        load_arm(
            arm,
            {seed: [trial] for seed, trial in sorted(trials_of.items())},
            root=folder,
            description=f"{key}={arm}" if arm != DEFAULT else f"without an override of {key}",
        )
        for arm, trials_of in found.items()
    ]


def overrides_of(record: Path) -> dict[str, str]:
    """Return the overrides of a run by key.

    Args:
        record: The run's `run.json`.
    """
    words = read_json(record).get("overrides", [])
    pairs = (str(word).lstrip("+").partition("=") for word in words)
    return {name: value for name, _, value in pairs}


def _seed(trial: Path) -> int:
    """Return the seed of a trial.

    Raises:
        ConfigError: The record of the trial names no seed.
    """
    seed: Any = read_json(trial / "run.json").get("seed")
    if not isinstance(seed, int):
        raise ConfigError(f"{trial / 'run.json'}: must name the seed of the trial, got {seed!r}")
    return seed


def _number(record: Path) -> tuple[int, str]:
    """Return a key that sorts trials by their number."""
    name = record.parent.name
    return (int(name), name) if name.isdecimal() else (0, name)
