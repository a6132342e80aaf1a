"""Measure the time that the models of each arm need for a text."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from candelabra.errors import UserError
from candelabra.files import read_json, write_json

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle
    from candelabra.study.inputs import ArmRuns

SPEED = "speed.json"
TURNS = 3


def arm_speeds(
    arms: Sequence[ArmRuns], runs_dir: Path, texts: Sequence[str], place: Path
) -> dict[str, float]:
    """Return the milliseconds that each arm needs for the predictions of all tasks for one text.

    The models of the first seed are measured. An earlier measurement of the same runs is read from
    the folder of the study.

    Args:
        arms: Arms with their runs.
        runs_dir: Folder of the run folders.
        texts: Texts to predict.
        place: Folder of the study.

    Returns:
        Milliseconds of each arm whose runs all have a bundle that predicts single texts.
    """
    folders = {arm.name: _first_bundles(arm, runs_dir) for arm in arms}
    runs = {name: [folder.parent.name for folder in found] for name, found in folders.items()}
    before = _measured(place / SPEED, runs)
    if before is not None:
        return before
    speeds = measure_speed({name: found for name, found in folders.items() if found}, texts)
    write_json(place / SPEED, {"runs": runs, "texts": len(texts), "ms_per_text": speeds})
    return speeds


def measure_speed(
    folders: Mapping[str, Sequence[Path]], texts: Sequence[str], *, turns: int = TURNS
) -> dict[str, float]:
    """Time the models of each arm on the same texts.

    The arms take turns, so that a change of the machine's load affects all of them.

    Args:
        folders: Bundles of each arm. Each text is predicted with all of them.
        texts: Texts to predict.
        turns: Number of turns; the result is their median.

    Returns:
        Milliseconds of each arm for one text. Arms that cannot predict single texts are left out.
    """
    models = {name: opened for name, some in folders.items() if (opened := _open(some))}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(-1, turns if texts else -1):  # turn -1 warms up
        for name, bundles in models.items():
            begin = time.perf_counter()
            for bundle in bundles:
                bundle.predict(list(texts))
            if turn >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return {
        name: round(1000 * statistics.median(taken) / len(texts), 3)
        for name, taken in seconds.items()
        if taken
    }


def _measured(file: Path, runs: Mapping[str, Sequence[str]]) -> dict[str, float] | None:
    """Read an earlier measurement of these runs; `None` if it is missing or damaged."""
    try:
        stored = read_json(file)
        if stored["runs"] != runs:
            return None
        return {str(name): float(speed) for name, speed in stored["ms_per_text"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _first_bundles(arm: ArmRuns, runs_dir: Path) -> list[Path]:
    """Return the bundles of the first seed; none if a run has no bundle."""
    folders = [runs_dir / run.name / "bundle" for run in arm.runs.get(min(arm.seeds), ())]
    return folders if all(folder.is_dir() for folder in folders) else []


def _open(folders: Sequence[Path]) -> list[Bundle]:
    """Open the bundles of an arm; none if one is damaged or cannot predict single texts."""
    from candelabra.bundle.bundle import load

    try:
        bundles = [load(folder) for folder in folders]
        for bundle in bundles:
            bundle.predict("text")
    except UserError:
        return []
    return bundles
