"""Curves of training and validation, from the history of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from candelabra.report.run_pictures import Line, lines_plot
from candelabra.report.view import Figure

History = Sequence[Mapping[str, float]]
"""Rows of `metrics.csv`."""


def line_of(history: History, column: str) -> Line | None:
    """Return the last value of a column at each step, or `None` if the history lacks the column."""
    values = {row["step"]: row[column] for row in history if column in row and "step" in row}
    steps = sorted(values)
    return (steps, [values[step] for step in steps]) if steps else None


def curves(history: History, main_metrics: Mapping[str, str]) -> list[Figure]:
    """Return the curves of the losses in training, and of the main metrics on validation.

    Args:
        history: History of the run.
        main_metrics: Main metric of each task.
    """
    figures = []
    losses = _lines(history, {task: f"train/{task}/loss" for task in main_metrics})
    if losses:
        picture = lines_plot("training", losses, label="loss in training")
        figures.append(Figure("Training", picture, "Loss of each task before its weight."))
    scores = {f"{task}: {metric}": f"val/{task}/{metric}" for task, metric in main_metrics.items()}
    lines = _lines(history, {**scores, "mean of the tasks": "val/score"})
    if len(main_metrics) == 1:
        lines.pop("mean of the tasks", None)
    if lines:
        picture = lines_plot("validation", lines, label="score on validation")
        figures.append(Figure("Validation", picture, _best(history)))
    return figures


def _lines(history: History, columns: Mapping[str, str]) -> dict[str, Line]:
    found = {name: line_of(history, column) for name, column in columns.items()}
    return {name: line for name, line in found.items() if line is not None}


def _best(history: History) -> str:
    line = line_of(history, "val/score")
    if line is None:
        return ""
    steps, values = line
    place = max(range(len(values)), key=values.__getitem__)
    return f"The best val/score is {values[place]:.4f}, at step {steps[place]:.0f}."
