"""Sweeps, in which every trial has a process and a folder of its own.

A launcher may run trials in other processes or on other machines, and loses all return values if
one of them dies. The table of results is therefore read from the files in the trials' folders.
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
"""Optuna's error message when it looks for the best trial and all trials failed."""


class Sweep(Callback, metaclass=Singleton):
    """Current sweep; a singleton, because Hydra's launchers pass singletons to their processes.

    Attributes:
        columns: Metrics shown before the scores; the table is sorted by the first of them.
        beside: `title` and `rows` of a table of published results, with values in the order of
            `columns`.
        folder: Folder of the sweep; `None` if no sweep has started.
        begun: Folder with one file for each trial that this invocation of the sweep started.
    """

    columns: Sequence[str] = ()
    beside: Mapping[str, Any] | None = None
    folder: Path | None = None
    begun: Path

    def __init__(self, **_: Any) -> None:
        """Ignore the arguments from Hydra; `on_multirun_start` reads them from the config."""

    def clear(self) -> None:
        """Reset the state left by an earlier sweep of this process."""
        self.folder, self.columns, self.beside = None, (), None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the settings of the sweep; Hydra calls this in the process that starts it."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.begun = self.folder / ".trials" / new_run_id()
        settings = OmegaConf.select(config, "hydra.callbacks.sweep") or {}
        self.columns, self.beside = list(settings.get("columns", ())), settings.get("beside")

    def begin(self, number: int, folder: Path, overrides: Sequence[str]) -> None:
        """Record the start of a trial, in the process that the launcher runs it in."""
        trial = {"folder": str(folder), "overrides": list(overrides)}
        write_json(self.begun / f"{number:06}.json", trial)

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of the trials of this invocation, in order of their numbers."""
        if self.folder is None:
            return []
        trials = [read_json(file) for file in sorted(self.begun.glob("*.json"))]
        return [outcome(Path(trial["folder"]), trial["overrides"]) for trial in trials]


def outcome(folder: Path, overrides: Sequence[str]) -> Outcome:
    """Return the outcome of a trial: a row of the table.

    Args:
        folder: Run folder of the trial.
        overrides: Hydra overrides of the trial.

    Returns:
        `overrides`, `status`, `metrics`, `folder` and, if the run folder records one, `error`.
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
    """Run Hydra's main function, and show the table of results if it was a sweep.

    The table is shown even if the sweep ends with an error.

    Args:
        start: Hydra's main function.

    Returns:
        Exit status: 1 if a trial did not finish or the launcher failed, else 0.
    """
    sweep, lost = Sweep(), 0
    sweep.clear()
    try:
        start()
    except (RuntimeError, OSError) as error:
        # Hydra's errors about missing config options are OSErrors too, and no launcher failures.
        if sweep.folder is None or isinstance(error, HydraException):
            raise
        # joblib and submitit raise if one of their processes dies or a folder cannot be created.
        reason = shorten(f"{type(error).__name__}: {error}", 240)
        print(
            f"candelabra: error: the launcher gave up: {reason}\n  trials outside the table did "
            f"not begin; the same command with hydra.sweep.dir={sweep.folder} skips what is "
            "finished",
            file=sys.stderr,
        )
        lost = 1
    except ValueError as error:
        # Optuna raises this if all trials failed; the table already shows their errors.
        if str(error) != NO_TRIAL_IS_DONE or not sweep.outcomes():
            raise
    finally:
        rows = sweep.outcomes()
        status = _show(sweep, rows) if sweep.folder and rows else 0
    return max(status, lost)


def _show(sweep: Sweep, outcomes: Sequence[Outcome]) -> int:
    """Print the table, write `sweep.csv`, and return 1 if a trial did not finish, else 0."""
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
