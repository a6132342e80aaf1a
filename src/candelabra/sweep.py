"""Sweeps: every trial is a process and a folder of its own; a failed one hides nothing."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from candelabra.files import write_text

Outcome = dict[str, Any]


def run_trial(folder: Path, overrides: list[str]) -> Outcome:
    """Trains one combination in a process of its own, unless its folder holds it finished.

    Args:
        folder: The trial's run folder.
        overrides: Hydra overrides of the trial.

    Returns:
        `overrides`, `status`, `metrics`, `folder` and, for a failed trial, `error`.
    """
    before = _outcome(folder, overrides)
    if before["status"] == "finished" and before["recorded"] == overrides:
        return before
    command = [sys.executable, "-m", "candelabra", "train", *overrides]
    settings = [f"hydra.run.dir={json.dumps(str(folder))}", f"group={folder.parent.name}"]
    status = subprocess.run([*command, *settings], check=False).returncode
    outcome = _outcome(folder, overrides)
    if status != 0:
        # A killed process has no time to write its end.
        outcome["status"] = "failed"
        outcome.setdefault("error", f"exit status {status}")
    return outcome


def _outcome(folder: Path, overrides: list[str]) -> Outcome:
    record, metrics = _read(folder / "run.json"), _read(folder / "metrics.json")
    recorded = [item for item in record.get("overrides", []) if not _added(item)]
    outcome: Outcome = {
        "overrides": overrides,
        "recorded": recorded,
        "status": record.get("status", "not started"),
        "metrics": metrics if record.get("status") == "finished" else {},
        "folder": str(folder),
    }
    if record.get("error"):
        outcome["error"] = record["error"]
    return outcome


def _added(override: str) -> bool:
    return override.startswith(("hydra.run.dir=", "group="))


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def show_sweep(outcomes: Sequence[Outcome]) -> int:
    """Prints the table and writes it as `sweep.csv`; the exit status is 1 if a trial failed."""
    from candelabra import report

    folder = Path(outcomes[0]["folder"]).parent
    report.show(report.sweep_table(outcomes, title=f"sweep {folder}"))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["val/score", "test/score", "status", "overrides", "folder"])
    for run in report.ranked(outcomes):
        scores = [run["metrics"].get(key, "") for key in ("val/score", "test/score")]
        writer.writerow([*scores, run["status"], " ".join(run["overrides"]), run["folder"]])
    write_text(folder / "sweep.csv", text.getvalue())
    return int(any(run["status"] != "finished" for run in outcomes))
