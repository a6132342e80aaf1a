"""Trials of a sweep, from the files of its folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from candelabra.bundle.stored import stored_file, stored_json, stored_numbers
from candelabra.errors import DataError
from candelabra.tables import SCORES

DEFAULT = "default"
"""Value of an option in trials that do not set it."""
NO_OPTIONS = ("hydra", "group", "tags", "logger")
"""Overrides that do not change the training."""


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Attributes:
        name: Path of the trial's folder, relative to the folder of the sweep.
        options: Overrides by key.
        status: Status in `run.json`.
        metrics: Metrics of a finished trial; otherwise empty.
        error: Error in `run.json`; empty if there is none.
        record: Content of `run.json`.
    """

    name: str
    options: Mapping[str, str]
    status: str
    metrics: Mapping[str, float]
    error: str
    record: Mapping[str, Any]


def read_trials(folder: Path) -> list[Trial]:
    """Read the trials of a sweep in the order in which they started.

    Args:
        folder: Folder of the sweep. It may have been moved.

    Raises:
        DataError: There is no trial, or a file is damaged or leads out of the folder.
    """
    started = _started_trials(folder)
    for file in sorted(folder.glob("*/run.json"), key=_number):
        started.setdefault(file.parent.name, None)
    trials = [_trial(folder, name, overrides) for name, overrides in started.items()]
    if not trials:
        raise DataError(f"report {folder}: a sweep without trials")
    return trials


def score_columns(folder: Path) -> list[str]:
    """Return the metrics of the sweep's table; the first one ranks the trials."""
    path = stored_file(folder, "sweep.csv")
    if path is None:
        return list(SCORES)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            header = next(csv.reader(stream), [])
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return (header[: header.index("status")] if "status" in header else []) or list(SCORES)


def swept_keys(trials: Sequence[Trial]) -> list[str]:
    """Return the options that have different values in different trials."""
    keys = dict.fromkeys(key for trial in trials for key in trial.options)
    return [
        key
        for key in keys
        if key.split(".")[0] not in NO_OPTIONS
        and len({trial.options.get(key, DEFAULT) for trial in trials}) > 1
    ]


def _started_trials(folder: Path) -> dict[str, list[Any] | None]:
    """Return the overrides of each trial that the sweep started, by the name of its folder."""
    found: dict[str, list[Any] | None] = {}
    for file in sorted(folder.glob(".trials/*/*.json")):
        stored = stored_json(folder, file.relative_to(folder).as_posix())
        place, overrides = stored.get("folder"), stored.get("overrides")
        if not isinstance(place, str) or not isinstance(overrides, list):
            raise DataError(f"{file}: must name the folder and the overrides of a trial")
        found[_relative(folder, place)] = overrides
    return found


def _relative(folder: Path, place: str) -> str:
    """Return the path of a trial below the sweep, whose folder may have been moved."""
    path, root = PurePosixPath(place), folder.absolute().as_posix()
    if ".." not in path.parts and path.is_relative_to(root) and path != PurePosixPath(root):
        return path.relative_to(root).as_posix()
    if path.name in ("", ".."):
        raise DataError(f"{folder / '.trials'}: {place!r} is no folder of a trial")
    return path.name


def _trial(folder: Path, name: str, overrides: list[Any] | None) -> Trial:
    record = stored_json(folder, f"{name}/run.json")
    # Before the record: a later sweep may have been refused because of this run.
    words = record.get("overrides", overrides or [])
    status = str(record.get("status", "not started"))
    finished = status == "finished"
    return Trial(
        name,
        dict(map(_option, words if isinstance(words, list) else [])),
        status,
        stored_numbers(folder, f"{name}/metrics.json") if finished else {},
        str(record.get("error") or ""),
        record,
    )


def _option(word: Any) -> tuple[str, str]:
    key, equals, value = str(word).lstrip("+").partition("=")
    return key, value if equals else "removed" if key.startswith("~") else ""


def _number(file: Path) -> tuple[int, str]:
    name = file.parent.name
    return (int(name), name) if name.isdecimal() and len(name) < 10 else (0, name)
