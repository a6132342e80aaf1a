"""Tables that are shown at the start of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

    from candelabra.data.loading import TaskData
    from candelabra.data.mixing.order import Draws
    from candelabra.data.mixing.schedule import Schedule
    from candelabra.model.multitask import MultiTaskModel


def tasks_table(data: Mapping[str, TaskData], schedule: Schedule) -> Table:
    """Return a table with the size of every task and its share of the first epoch."""
    title = f"data: {schedule.steps_per_epoch} steps an epoch"
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    columns = ("train", "validation", "test", "labels", "share", "steps", "in a step", "drawn")
    partial = any(task.missing_labels for task in data.values())
    extra = any(task.teacher_only for task in data.values())
    more = (["no label"] if partial else []) + (["teacher only"] if extra else [])
    for column in (*columns, "repeated", "left out", "skipped", *more):
        table.add_column(column, justify="right")
    shares, plan = schedule.shares(), schedule.plan(0)
    for name, task in data.items():
        sizes = [len(task.splits[split]) if split in task.splits else "-" for split in columns[:3]]
        skipped = sum(n for rules in task.skipped.values() for n in rules.values())
        no_label = [sum(task.missing_labels.values())] if partial else []
        only_taught = [task.teacher_only] if extra else []
        drawn = _drawn(shares[name], plan[name]) if name in plan else ["-"] * 6
        cells = (*sizes, len(task.labels), *drawn, skipped, *no_label, *only_taught)
        table.add_row(name, *map(str, cells))
    return table


def _drawn(share: float, draws: Draws) -> list[str]:
    """Return the cells share, steps, examples in a step, drawn, repeated, left out."""
    step_sizes = [count for count in draws.counts.tolist() if count]
    counts = (draws.drawn, draws.repeated, draws.left_out)
    return [f"{share:.3f}", *map(str, (len(step_sizes), max(step_sizes, default=0), *counts))]


def model_table(model: MultiTaskModel, total_steps: int = 1, *, device: str = "cpu") -> Table:
    """Return a table with the parameter counts of each part, and the name of the attention.

    Args:
        model: Model after freezing.
        total_steps: Number of optimizer steps in the run, to list the parameters that thaw later.
        device: Device type of the training, such as `cpu`.
    """
    table = Table(title="model", title_justify="left", caption_justify="left")
    attention = model.encoder.attention_of(device, training=True)
    table.caption = f"attention in training: {attention}"
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
        ever_learning = sum(p.numel() for p in model.freezer.ever_learning(model))
        if ever_learning > at_the_end:
            table.add_row("thaws too late for this run", "", f"{ever_learning - at_the_end:,}")
    return table
