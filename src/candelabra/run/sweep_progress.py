"""Progress of trials that run at the same time: a table that moves, or a line for each end."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from candelabra.files import read_json
from candelabra.run.sweep import Sweep, error_words, outcome
from candelabra.tables import Printable, format_number, show

SCORE = "val/score"
AROUND = 8
"""Lines of the terminal that are left to what is around the rows of the table."""


@dataclass(frozen=True)
class TrialRow:
    """State of a trial, as the table shows it.

    Attributes:
        state: Status of its run, `starting` or `waiting`.
        seconds: Seconds since its start; `None` if it waits.
        epoch: Epoch of the last row of `metrics.csv`.
        step: Step of that row.
        score: Best score of its validations so far.
        error: Error, after a colon.
    """

    state: str
    seconds: float | None = None
    epoch: str = ""
    step: str = ""
    score: float | None = None
    error: str = ""


class SweepProgress:
    """Progress of trials, read from the files that they write.

    On a terminal it is one table with a row for each trial, which is removed at the end. Elsewhere
    the end of each trial is a line. Use it as a context manager.

    Args:
        trials: Overrides of each trial.
        first: Number of the first trial.
        swept: Keys that differ between the trials of the sweep. Overrides of other keys are not
            shown if all `trials` have them.
    """

    def __init__(
        self, trials: Sequence[Sequence[str]], first: int, swept: Collection[str] = ()
    ) -> None:
        shared = set.intersection(*map(set, trials))
        shared = {word for word in shared if word.partition("=")[0] not in swept}
        self._words = {
            number: " ".join(word for word in words if word not in shared)
            for number, words in enumerate(trials, first)
        }
        self._begun: dict[int, float] = {}
        self._ended: dict[int, TrialRow] = {}
        self._console = Console()
        # Processes are forked meanwhile, so nothing may run in a thread or replace `sys.stdout`.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, number: int) -> None:
        """Note that a trial has started."""
        self._begun[number] = time.monotonic()

    def end(self, number: int) -> None:
        """Note that a trial has ended."""
        row = self._ended[number] = self._row(number)
        if not self._console.is_terminal:
            score = "" if row.score is None else f", {SCORE} {row.score:.4f}"
            words = f"trial {number} {row.state} after {row.seconds:.0f} s{score}"
            show(f"{words} ({self._words[number]}){row.error}")

    def refresh(self) -> None:
        """Draw the table again, if there is one."""
        if self._console.is_terminal:
            self._live.update(Printable(self.table()), refresh=True)

    def table(self) -> Table:
        """Return the table: running trials, and as many ended ones as the terminal has lines."""
        ended, begun = len(self._ended), len(self._begun)
        title = f"{ended} of {len(self._words)} trials ended, {begun - ended} running"
        table = Table(title=title, title_justify="left")
        for column in ("trial", "state", "epoch", "step", SCORE, "time"):
            table.add_column(column, justify="left" if column == "state" else "right")
        table.add_column("overrides", overflow="fold")
        running = [number for number in self._begun if number not in self._ended]
        others = [*self._ended][::-1] + [n for n in self._words if n not in self._begun]
        shown = running + others[: max(0, self._console.height - AROUND - len(running))]
        for number in sorted(shown):
            row = self._ended.get(number) or self._row(number)
            table.add_row(
                str(number),
                row.state,
                row.epoch,
                row.step,
                format_number(row.score),
                "" if row.seconds is None else f"{row.seconds:.0f} s",
                Text(self._words[number]),
            )
        return table

    def _row(self, number: int) -> TrialRow:
        """Read the files of a trial."""
        if number not in self._begun:
            return TrialRow("waiting")
        seconds = time.monotonic() - self._begun[number]
        begun = read_json(Sweep().begun / f"{number:06}.json")
        if "folder" not in begun:
            return TrialRow("starting", seconds)
        folder = Path(begun["folder"])
        ended = outcome(folder, begun["overrides"])
        state = "starting" if ended["status"] == "not started" else ended["status"]
        rows = _rows(folder / "metrics.csv")
        scores = [float(row[SCORE]) for row in rows if row.get(SCORE)]
        last = rows[-1] if rows else {}
        return TrialRow(
            state,
            seconds,
            epoch=last.get("epoch", ""),
            step=last.get("step", ""),
            score=ended["metrics"].get(SCORE, max(scores, default=None)),
            error=error_words(ended),
        )


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the complete rows of a CSV file; none if it is missing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))
