"""Tables printed at the start and end of a run, and at the end of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from candelabra.errors import UNPRINTABLE, printable
from candelabra.launching import rank

if TYPE_CHECKING:
    from candelabra.data.loading import TaskData
    from candelabra.data.order import Draws
    from candelabra.data.schedule import Schedule
    from candelabra.model.multitask import MultiTaskModel

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
        table.add_row(task, metric, *map(_number, values))
    scores = [metrics.get(f"{split}/score") for split in splits]
    table.add_section()
    table.add_row("all", "score", *map(_number, scores), style="bold")
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
            values = [_number(row.get(column)) for column in columns[:-1]]
            table.add_row(Text(name), *values, f"{row.get('support', 0):.0f}")
        tables.append(table)
    return tables


def result_tables(metrics: Mapping[str, float]) -> list[Table]:
    """Return the tables shown at the end of a run."""
    split = "test" if any(key.startswith("test/") for key in metrics) else "val"
    return [*types_tables(metrics, split), metrics_table(metrics, title="results")]


def tasks_table(data: Mapping[str, TaskData], schedule: Schedule) -> Table:
    """Return a table with the size of every task and its share of the first epoch."""
    title = f"data: {schedule.steps_per_epoch} steps an epoch"
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    columns = ("train", "validation", "test", "labels", "share", "steps", "in a step", "drawn")
    partial = any(task.unlabelled for task in data.values())
    for column in (*columns, "repeated", "left out", "skipped", *(["no label"] if partial else [])):
        table.add_column(column, justify="right")
    shares, plan = schedule.shares(), schedule.plan(0)
    for name, task in data.items():
        sizes = [len(task.splits[split]) if split in task.splits else "-" for split in columns[:3]]
        skipped = sum(n for rules in task.skipped.values() for n in rules.values())
        unlabelled = [sum(task.unlabelled.values())] if partial else []
        drawn = _drawn(shares[name], plan[name]) if name in plan else ["-"] * 6
        cells = (*sizes, len(task.labels), *drawn, skipped, *unlabelled)
        table.add_row(name, *map(str, cells))
    return table


def _drawn(share: float, draws: Draws) -> list[str]:
    """Return the cells share, steps, examples in a step, drawn, repeated, left out."""
    step_sizes = [count for count in draws.counts.tolist() if count]
    counts = (draws.drawn, draws.repeated, draws.left_out)
    return [f"{share:.3f}", *map(str, (len(step_sizes), max(step_sizes, default=0), *counts))]


def model_table(model: MultiTaskModel, total_steps: int = 1) -> Table:
    """Return a table with the parameter counts of each part of the model.

    Args:
        model: Model after freezing.
        total_steps: Number of optimizer steps in the run, to list the parameters that thaw later.
    """
    table = Table(title="model", title_justify="left")
    table.add_column("part")
    for column in ("parameters", "learning"):
        table.add_column(column, justify="right")
    if model.origins:
        table.add_column("weights", overflow="fold")
    parts = {"encoder": model.encoder, "pooling": model.pooling}
    parts |= {f"pooling of {task}": module for task, module in model.poolings.items()}
    parts |= {f"mix of {task}": module for task, module in model.mixes.items()}
    parts |= {f"head of {task}": module for task, module in model.heads.items()}
    for name, module in [*parts.items(), ("all", model)]:
        sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
        total, learning = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
        if total:
            origin = [Text(model.origins.get(name, ""))] if model.origins else []
            table.add_row(name, f"{total:,}", f"{learning:,}", *origin)
    if model.freezer is not None:
        table.add_section()
        thaws = model.freezer.thaws(model, total_steps)
        for step, learning in list(thaws.items())[1:]:
            table.add_row(f"all, from step {step}", "", f"{learning:,}")
        *_, at_the_end = thaws.values()
        ever_learning = sum(p.numel() for p in model.freezer.some_day_learning(model))
        if ever_learning > at_the_end:
            table.add_row("thaws too late for this run", "", f"{ever_learning - at_the_end:,}")
    return table


def sweep_table(
    runs: Sequence[Mapping[str, Any]],
    *,
    title: str,
    columns: Sequence[str] = SCORES,
) -> Table:
    """Return a table with one row for each run, sorted by the first column, highest first.

    Failed runs come last, with their error. Overrides that all runs share are in the caption.

    Args:
        runs: Outcomes of trials, as from `candelabra.sweep.outcome`.
        title: Title of the table.
        columns: Keys of the metrics to show.
    """
    shared = set.intersection(*(set(run["overrides"]) for run in runs)) if len(runs) > 1 else set()
    if all(shared.issuperset(run["overrides"]) for run in runs):
        shared = set()  # otherwise the override cells of all rows would be empty
    caption = [word for word in runs[0]["overrides"] if word in shared]
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = Text(f"all with {' '.join(caption)}") if caption else None
    for column in columns:
        table.add_column(column, justify="right")
    for column in ("overrides", "status", "folder"):
        table.add_column(column, overflow="fold")
    for run in ranked(runs, by=columns[0]):
        metrics = run["metrics"]
        status = run["status"] if "error" not in run else f"{run['status']}: {run['error']}"
        own = [word for word in run["overrides"] if word not in shared]
        table.add_row(
            *(_number(metrics.get(column)) for column in columns),
            # As Text: an override or a message may hold brackets, which rich reads as markup.
            *map(Text, (" ".join(own), status, run["folder"])),
        )
    return table


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
        table.add_row(Text(str(name)), *map(_number, values))
    return table


def ranked(runs: Sequence[Mapping[str, Any]], *, by: str = SCORES[0]) -> list[Mapping[str, Any]]:
    """Return the runs sorted by a metric, the highest first; runs without it come last."""

    def fall(run: Mapping[str, Any]) -> float:
        score = run["metrics"].get(by, math.nan)
        return math.inf if math.isnan(score) else -score

    return sorted(runs, key=fall)


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
            console.print(_Printable(table), highlight=False)


@dataclass(frozen=True)
class _Printable:
    """A table whose texts cannot steer the terminal; its own styles stay."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.table, options):
            # One character for one: the columns were already measured.
            yield segment._replace(text=UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", segment.text))


def _rows(metrics: Mapping[str, float], splits: Sequence[str]) -> list[tuple[str, str]]:
    rows = []
    for key in metrics:
        parts = key.split("/")
        if len(parts) == 3 and parts[0] in splits and (parts[1], parts[2]) not in rows:
            rows.append((parts[1], parts[2]))
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
