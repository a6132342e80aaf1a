"""Sweeps: every trial is a process and a folder of its own; a failed one hides nothing.

A launcher may call trials in other processes or on other machines, and lose all that they return
when one of them dies. So a trial's folder says how it ended, and the table is read from there.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from candelabra.config import new_run_id
from candelabra.files import read_json, write_json, write_text

Outcome = dict[str, Any]

NO_TRIAL_IS_DONE = "No trials are completed yet."
"""What Optuna says then."""


class Sweep(Callback, metaclass=Singleton):
    """The sweep under way; launchers hand Hydra's singletons on to the processes they start.

    Attributes:
        columns: Metrics that its table shows before the scores; the best first of them leads.
        beside: `title` and `rows` of published figures, a row's values in the order of `columns`.
        folder: The sweep's folder, or None while none has begun.
        begun: A folder with one file for each trial that this start of the sweep has begun.
    """

    columns: Sequence[str] = ()
    beside: Mapping[str, Any] | None = None
    folder: Path | None = None
    begun: Path

    def __init__(self, **_: Any) -> None:
        """Hydra hands over what the yaml says; `on_multirun_start` reads it."""

    def clear(self) -> None:
        """Forgets an earlier sweep of this process."""
        self.folder, self.columns, self.beside = None, (), None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra, in the process that starts the sweep."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.begun = self.folder / ".trials" / new_run_id()
        told = OmegaConf.select(config, "hydra.callbacks.sweep") or {}
        self.columns, self.beside = list(told.get("columns", ())), told.get("beside")

    def begin(self, number: int, folder: Path, overrides: Sequence[str]) -> None:
        """Notes a trial, in the process that was started for it."""
        trial = {"folder": str(folder), "overrides": list(overrides)}
        write_json(self.begun / f"{number:06}.json", trial)

    def outcomes(self) -> list[Outcome]:
        """How the trials of this start ended, in their order."""
        if self.folder is None:
            return []
        trials = [read_json(file) for file in sorted(self.begun.glob("*.json"))]
        return [outcome(Path(trial["folder"]), trial["overrides"]) for trial in trials]


def outcome(folder: Path, overrides: Sequence[str]) -> Outcome:
    """The row of a trial.

    Args:
        folder: The trial's run folder.
        overrides: Hydra overrides of the trial.

    Returns:
        `overrides`, `status`, `metrics`, `folder` and, for a trial that did not finish, `error`.
    """
    record = read_json(folder / "run.json")
    finished = record.get("status") == "finished"
    row: Outcome = {
        "overrides": overrides,
        "status": record.get("status", "not started"),
        "metrics": read_json(folder / "metrics.json") if finished else {},
        "folder": str(folder),
    }
    if record.get("error"):
        row["error"] = record["error"]
    return row


def with_table(start: Callable[[], None]) -> int:
    """Calls what may be a sweep; however that ends, its table is shown.

    Args:
        start: Hydra's main function.

    Returns:
        The exit status: 1 if a trial did not finish.
    """
    sweep, lost = Sweep(), 0
    sweep.clear()
    try:
        start()
    except (RuntimeError, OSError) as error:
        # What Hydra says of a missing option is an OSError too.
        if sweep.folder is None or isinstance(error, HydraException):
            raise
        # joblib and submitit give up when a process of theirs dies, or a folder cannot be made.
        reason = shorten(f"{type(error).__name__}: {error}", 240)
        print(
            f"candelabra: error: the launcher gave up: {reason}\n  trials outside the table did "
            f"not begin; the same command with hydra.sweep.dir={sweep.folder} skips what is "
            "finished",
            file=sys.stderr,
        )
        lost = 1
    except ValueError as error:
        # Optuna asks for the best trial where all of them have failed, which the table says.
        if str(error) != NO_TRIAL_IS_DONE or not sweep.outcomes():
            raise
    finally:
        rows = sweep.outcomes()
        status = _show(sweep, rows) if sweep.folder and rows else 0
    return max(status, lost)


def _show(sweep: Sweep, outcomes: Sequence[Outcome]) -> int:
    """Prints the table and writes it as `sweep.csv`; the exit status is 1 if a trial failed."""
    from candelabra import report

    assert sweep.folder is not None
    columns = [*sweep.columns, *report.SCORES]
    report.show(report.sweep_table(outcomes, title=f"sweep {sweep.folder}", columns=columns))
    if sweep.beside is not None:
        report.show(report.published_table(**sweep.beside, columns=sweep.columns))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*columns, "status", "overrides", "folder", "error"])
    for run in report.ranked(outcomes, by=columns[0]):
        scores = [run["metrics"].get(key, "") for key in columns]
        words = (run["status"], " ".join(run["overrides"]), run["folder"], run.get("error", ""))
        writer.writerow([*scores, *words])
    write_text(sweep.folder / "sweep.csv", text.getvalue())
    return int(any(run["status"] != "finished" for run in outcomes))
