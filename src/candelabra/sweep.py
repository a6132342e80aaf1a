"""Sweeps: every trial is a process and a folder of its own; a failed one hides nothing."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from candelabra.files import read_json, write_text
from candelabra.hydra_messages import quoted

Outcome = dict[str, Any]


def run_trial(folder: Path, overrides: list[str], *, config_dirs: Sequence[str] = ()) -> Outcome:
    """Trains one combination in a process of its own, unless its folder holds it finished.

    Args:
        folder: The trial's run folder.
        overrides: Hydra overrides of the trial.
        config_dirs: Folders of yamls beside candelabra's own.

    Returns:
        `overrides`, `status`, `metrics`, `folder` and, for a failed trial, `error`.
    """
    given = list(overrides)
    if not any(override.startswith("group=") for override in overrides):
        given.append(f"group={quoted(folder.parent.name)}")
    before = _outcome(folder, overrides)
    if before["status"] == "finished" and read_json(folder / "run.json")["overrides"] == given:
        return before
    command = [sys.executable, "-m", "candelabra", "train", *given]
    settings = [f"hydra.run.dir={quoted(str(folder))}"]
    settings += [word for path in config_dirs for word in ("--config-dir", path)]
    status = subprocess.run([*command, *settings], check=False).returncode
    outcome = _outcome(folder, overrides)
    if status != 0:
        # A killed process has no time to write its end.
        outcome["status"] = "failed"
        outcome.setdefault("error", f"exit status {status}")
    return outcome


def failed(folder: Path, overrides: list[str], error: str) -> Outcome:
    """The outcome of a trial that could not start."""
    outcome = _outcome(folder, overrides)
    return {**outcome, "status": "failed", "metrics": {}, "error": error}


def _outcome(folder: Path, overrides: list[str]) -> Outcome:
    record, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    outcome: Outcome = {
        "overrides": overrides,
        "status": record.get("status", "not started"),
        "metrics": metrics if record.get("status") == "finished" else {},
        "folder": str(folder),
    }
    if record.get("error"):
        outcome["error"] = record["error"]
    return outcome


def show_sweep(outcomes: Sequence[Outcome]) -> int:
    """Prints the table and writes it as `sweep.csv`; the exit status is 1 if a trial failed."""
    from candelabra import report

    folder = Path(outcomes[0]["folder"]).parent
    report.show(report.sweep_table(outcomes, title=f"sweep {folder}"))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["val/score", "test/score", "status", "overrides", "folder", "error"])
    for run in report.ranked(outcomes):
        scores = [run["metrics"].get(key, "") for key in ("val/score", "test/score")]
        words = (run["status"], " ".join(run["overrides"]), run["folder"], run.get("error", ""))
        writer.writerow([*scores, *words])
    write_text(folder / "sweep.csv", text.getvalue())
    return int(any(run["status"] != "finished" for run in outcomes))
