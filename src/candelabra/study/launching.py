"""Launch the runs of a study, each in a separate process and folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from candelabra.config.grammar import quoted
from candelabra.files import read_json, write_json
from candelabra.study.arms import StudyRun

FINISHED = "finished"


def status_of(folder: Path) -> str:
    """Return the status in the `run.json` of a folder; `not started` if there is none."""
    return str(read_json(folder / "run.json").get("status", "not started"))


def unfinished(runs: Sequence[StudyRun], runs_dir: Path) -> list[StudyRun]:
    """Return one run for each folder that has no finished run."""
    distinct = {run.folder: run for run in reversed(runs)}
    kept = [run for run in distinct.values() if status_of(runs_dir / run.folder) != FINISHED]
    return kept[::-1]


def launch_arguments(
    runs: Sequence[StudyRun], runs_dir: Path, list_file: Path, *, group: str
) -> list[str]:
    """Write a list of runs, and return the arguments of `candelabra train` that launch them.

    Args:
        runs: Runs to start; an interrupted run is resumed.
        runs_dir: Folder of the run folders.
        list_file: JSON file to write the list of runs to.
        group: Group of the runs in W&B.
    """
    listed: list[dict[str, Any]] = [
        {"folder": run.folder, "overrides": [*run.overrides, f"group={quoted(group)}"]}
        for run in runs
    ]
    write_json(list_file, listed)
    return [
        "-m",
        "hydra/sweeper=run_list",
        f"hydra.sweeper.file={quoted(str(list_file))}",
        f"hydra.sweep.dir={quoted(str(runs_dir))}",
    ]
