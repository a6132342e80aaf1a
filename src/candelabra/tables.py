"""Tables on standard output, and progress on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from candelabra.errors import UNPRINTABLE, printable
from candelabra.processes import rank

if TYPE_CHECKING:
    from rich.table import Table

RUN_SPLITS = ("val", "test")
SCORES = ("val/score", "test/score")


def metrics_table(
    metrics: Mapping[str, float], *, title: str, splits: Sequence[str] = RUN_SPLITS
) -> Table:
    """Return a table of the main metrics: a row per task and metric, a column per split.

    Args:
        metrics: `<split>/<task>/<metric>` and `<split>/score` -> value.
        title: Title of the table.
        splits: Splits to show; those without metrics are omitted.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    table.add_column("metric")
    splits = [split for split in splits if any(key.startswith(f"{split}/") for key in metrics)]
    for split in splits:
        table.add_column("validation" if split == "val" else split, justify="right")
    for task, metric in _rows(metrics, splits):
        values = [metrics.get(f"{split}/{task}/{metric}") for split in splits]
        table.add_row(task, metric, *map(format_number, values))
    scores = [metrics.get(f"{split}/score") for split in splits]
    table.add_section()
    table.add_row("all", "score", *map(format_number, scores), style="bold")
    return table


def types_tables(metrics: Mapping[str, float], split: str) -> list[Table]:
    """Return a table of precision, recall, F1 and support by entity type, for each tagging task.

    Args:
        metrics: `<split>/<task>/<metric>/<entity type>` -> value; other keys are ignored.
        split: Split to show.
    """
    by_task: dict[str, dict[str, dict[str, float]]] = {}
    for key, value in metrics.items():
        parts = key.split("/", 3)
        if len(parts) == 4 and parts[0] == split:
            by_task.setdefault(parts[1], {}).setdefault(parts[3], {})[parts[2]] = value
    tables = []
    for task, types in by_task.items():
        table = Table(title=f"{task}: entity types, {split}", title_justify="left")
        columns = ("precision", "recall", "f1", "support")
        table.add_column("type")
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in sorted(types.items(), key=lambda item: -item[1].get("support", 0)):
            values = [format_number(row.get(column)) for column in columns[:-1]]
            table.add_row(Text(name), *values, f"{row.get('support', 0):.0f}")
        tables.append(table)
    return tables


def result_tables(metrics: Mapping[str, float]) -> list[Table]:
    """Return the tables shown at the end of a run; none if it neither validated nor tested."""
    measured = [split for split in RUN_SPLITS if any(k.startswith(f"{split}/") for k in metrics)]
    if not measured:
        return []
    split = measured[-1]
    return [*types_tables(metrics, split), metrics_table(metrics, title="results")]


def show(*tables: Table | str) -> None:
    """Print tables and lines on the first rank; output to a file is 140 columns wide."""
    if rank() != 0:
        return
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, width=140)
    for table in tables:
        if isinstance(table, str):
            console.print(printable(table), soft_wrap=True, highlight=False)
        else:
            console.print(Printable(table), highlight=False)


@dataclass(frozen=True)
class Printable:
    """Table whose texts cannot control the terminal; its own styles are kept."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.table, options):
            # Replace one character by one, since the column widths are already measured.
            yield segment._replace(text=UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", segment.text))


class Progress:
    """Progress of a command on standard error: a bar on a terminal, else a line per minute.

    Use it as a context manager, and call `update` or `advance` after each part of the work.

    Args:
        description: What the command does, such as `embedding`.
        total: Number of items; `None` if it is not known yet.
        seconds: Time between two lines.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None = None,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        console = Console(stderr=True)
        self._bars = RichProgress(
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Rich would otherwise move what is printed to a file or pipe to the terminal.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._bar = self._bars.add_task(description, total=total)
        self._seconds, self._clock = seconds, clock
        self._started = self._last = clock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, count: int = 1) -> None:
        """Report that `count` more items are done."""
        self.update(int(self._bars.tasks[0].completed) + count)

    def update(self, done: int, total: int | None = None) -> None:
        """Report that `done` items are done, of a total that may have become known."""
        self._bars.update(self._bar, completed=done, total=total)
        if self._bars.disable and self._clock() - self._last >= self._seconds:
            self._last = self._clock()
            task = self._bars.tasks[0]
            of = "" if task.total is None else f" of {int(task.total):,}"
            minutes = round((self._last - self._started) / 60)
            line = f"{task.description}: {done:,}{of} in {minutes} min"
            print(line, file=sys.stderr, flush=True)


def _rows(metrics: Mapping[str, float], splits: Sequence[str]) -> list[tuple[str, str]]:
    """Return the distinct pairs of task and metric, without those of single entity types."""
    rows = []
    for key in metrics:
        parts = key.split("/")
        if len(parts) == 3 and parts[0] in splits and (parts[1], parts[2]) not in rows:
            rows.append((parts[1], parts[2]))
    return rows


def format_number(value: float | None) -> str:
    """Return a number with four decimals, or a dash for `None`."""
    return "-" if value is None else f"{value:.4f}"


def short_names(models: Sequence[str]) -> list[str]:
    """Shorten paths to the fewest trailing parts that keep them distinct.

    Example:
        >>> short_names(["runs/a/bundle", "runs/b/bundle"])
        ['a/bundle', 'b/bundle']
    """
    parts = [Path(model).parts for model in models]
    for num in range(1, max(map(len, parts))):
        names = [str(Path(*part[-num:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(models)
