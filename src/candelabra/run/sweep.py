"""Sweeps, in which every trial has a process and a folder of its own.

A launcher may run trials in other processes or on other machines, and loses all return values if
one of them dies. The table of results is therefore read from the files in the trials' folders.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text

from candelabra.config.grammar import quoted
from candelabra.config.schema import new_run_id
from candelabra.errors import printable
from candelabra.files import read_json, write_json, write_text
from candelabra.run.record import CHECKPOINT, is_of_run
from candelabra.tables import SCORES, format_number

if TYPE_CHECKING:
    from rich.table import Table

    from candelabra.run.preloaded import Preloaded

Outcome = dict[str, Any]

OUTPUT = "output.log"
"""File in the folder of a trial with what it prints, if several trials run at the same time."""
ENDED_WELL = ("finished", "pruned")
"""Statuses of trials that are not started again. A search prunes trials with low scores."""
STOPPED = ("interrupted", "running")
"""Statuses of runs that were interrupted, or whose process died before it could record that."""
OTHER_RUN = "a run with other settings: name another hydra.sweep.dir, or delete it"


class Sweep(Callback, metaclass=Singleton):
    """Current sweep; a singleton, because Hydra's launchers pass singletons to their processes.

    Attributes:
        columns: Metrics shown before the scores; the table is sorted by the first of them.
        published: `title` and `rows` of a table of published results, with values in the order of
            `columns`.
        folder: Folder of the sweep; `None` if no sweep has started.
        begun: Folder with one file for each trial that this invocation of the sweep started.
        searches: Number of a trial -> value of the variable `SEARCH` that connects its process with
            its search; empty if the sweep is no search.
        captures: Whether what a trial prints goes to `OUTPUT` in its folder; only in processes of
            trials that run at the same time.
        preloaded: Process that runs the trials of this process; `None` starts one for each trial.
    """

    columns: Sequence[str] = ()
    published: Mapping[str, Any] | None = None
    folder: Path | None = None
    begun: Path
    searches: Mapping[int, str] = {}
    captures: bool = False
    preloaded: Preloaded | None = None

    def __init__(self, **_: Any) -> None:
        """Ignore the arguments from Hydra; `on_multirun_start` reads them from the config."""

    def clear(self) -> None:
        """Reset the state left by an earlier sweep of this process."""
        self.folder, self.columns, self.published, self.searches = None, (), None, {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the settings of the sweep; Hydra calls this in the process that starts it."""
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.begun = self.folder / ".trials" / new_run_id()
        settings = OmegaConf.select(config, "hydra.callbacks.sweep") or {}
        self.columns = list(settings.get("columns", ()))
        self.published = settings.get("published")

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


def run_overrides(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that the run of a trial gets and records: its own, and its group."""
    if any(override.startswith("group=") for override in overrides):
        return list(overrides)
    return [*overrides, f"group={quoted(folder.parent.name)}"]


def must_be_kept(folder: Path) -> bool:
    """Return whether a folder has a run that is finished or can be resumed."""
    record = read_json(folder / "run.json")
    stopped = record.get("status") in STOPPED and is_of_run(folder / CHECKPOINT, record)
    return stopped or record.get("status") in ENDED_WELL


def has_other_run(folder: Path, overrides: Sequence[str]) -> bool:
    """Return whether a folder has a run with other overrides that must be kept."""
    found = read_json(folder / "run.json").get("overrides")
    return found not in (None, run_overrides(folder, overrides)) and must_be_kept(folder)


def outcome(folder: Path, overrides: Sequence[str]) -> Outcome:
    """Return the outcome of a trial, which is a row of the table.

    A trial whose folder has a run of another one that must be kept has failed.

    Args:
        folder: Run folder of the trial.
        overrides: Hydra overrides of the trial.

    Returns:
        `overrides`, `status`, `metrics`, `folder` and, if the run folder records one, `error`, with
        `output`, the name of the file that has what the trial printed, if there is one.
    """
    record = read_json(folder / "run.json")
    if has_other_run(folder, overrides):
        record = {"status": "failed", "error": f"its folder has {OTHER_RUN}"}
    finished = record.get("status") == "finished"
    row: Outcome = {
        "overrides": overrides,
        "status": record.get("status", "not started"),
        "metrics": read_json(folder / "metrics.json") if finished else {},
        "folder": str(folder),
    }
    if record.get("error"):
        row["error"] = record["error"]
        if (folder / OUTPUT).is_file():
            row["output"] = OUTPUT
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
        # Hydra also raises OSErrors for missing config options, which are no launcher failures.
        if sweep.folder is None or isinstance(error, HydraException):
            raise
        # joblib and submitit raise if one of their processes dies or a folder cannot be created.
        reason = printable(shorten(f"{type(error).__name__}: {error}", 240))
        print(
            f"candelabra: error: the launcher gave up: {reason}\n  trials outside the table did "
            f"not begin; the same command with hydra.sweep.dir={sweep.folder} skips what is "
            "finished",
            file=sys.stderr,
        )
        lost = 1
    finally:
        rows = sweep.outcomes()
        status = _show(sweep, rows) if sweep.folder and rows else 0
    return max(status, lost)


def _show(sweep: Sweep, outcomes: Sequence[Outcome]) -> int:
    """Print the table, write `sweep.csv`, and return 1 if a trial did not finish, else 0."""
    from candelabra import tables

    assert sweep.folder is not None
    columns = list(dict.fromkeys([*sweep.columns, *tables.SCORES]))
    tables.show(sweep_table(outcomes, title=f"sweep {sweep.folder}", columns=columns))
    if any(run["status"] in STOPPED for run in outcomes):
        tables.show(f"go on with the same command and hydra.sweep.dir={sweep.folder}")
    if sweep.published is not None:
        tables.show(published_table(**sweep.published, columns=sweep.columns))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*columns, "status", "overrides", "folder", "error"])
    for run in ranked(outcomes, by=columns[0]):
        scores = [run["metrics"].get(key, "") for key in columns]
        words = (run["status"], " ".join(run["overrides"]), run["folder"], run.get("error", ""))
        writer.writerow([*scores, *words])
    write_text(sweep.folder / "sweep.csv", text.getvalue())
    return int(any(run["status"] not in ENDED_WELL for run in outcomes))


def sweep_table(
    runs: Sequence[Mapping[str, Any]],
    *,
    title: str,
    columns: Sequence[str] = SCORES,
) -> Table:
    """Return a table with one row for each run, sorted by the first column, highest first.

    Failed runs come last, with their error. Overrides that all runs share are in the caption.

    Args:
        runs: Outcomes of trials, as from `candelabra.run.sweep.outcome`.
        title: Title of the table.
        columns: Keys of the metrics to show.
    """
    shared = set.intersection(*(set(run["overrides"]) for run in runs)) if len(runs) > 1 else set()
    if all(shared.issuperset(run["overrides"]) for run in runs):
        shared = set()  # all runs have the same overrides, and empty cells would hide them
    caption = [word for word in runs[0]["overrides"] if word in shared]
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = Text(f"all with {' '.join(caption)}") if caption else None
    for column in columns:
        table.add_column(column, justify="right")
    for column in ("overrides", "status", "folder"):
        table.add_column(column, overflow="fold")
    for run in ranked(runs, by=columns[0]):
        metrics = run["metrics"]
        own = [word for word in run["overrides"] if word not in shared]
        table.add_row(
            *(format_number(metrics.get(column)) for column in columns),
            # As Text: an override or a message may hold brackets, which rich reads as markup.
            *map(Text, (" ".join(own), run["status"] + error_words(run), run["folder"])),
        )
    return table


def error_words(run: Mapping[str, Any]) -> str:
    """Return a colon, the error of a run and the name of the file with what it printed, if any."""
    printed = f" (what it printed: {run['output']})" if "output" in run else ""
    return f": {run['error']}{printed}" if "error" in run else ""


def published_table(
    *, title: str, rows: Mapping[str, Sequence[float]], columns: Sequence[str]
) -> Table:
    """Return a table of published results.

    Args:
        title: Title of the table, which names the source.
        rows: Name of each row -> its values, in the order of `columns`.
        columns: Headers of the value columns.
    """
    table = Table(title=Text(title), title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(Text(str(name)), *map(format_number, values))
    return table


def ranked(runs: Sequence[Mapping[str, Any]], *, by: str = SCORES[0]) -> list[Mapping[str, Any]]:
    """Return the runs sorted by a metric, the highest first; runs without it come last."""

    def descending(run: Mapping[str, Any]) -> float:
        """Return a key that sorts the highest score first."""
        score = run["metrics"].get(by, math.nan)
        return math.inf if math.isnan(score) else -score

    return sorted(runs, key=descending)
