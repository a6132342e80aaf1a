"""Section of one task on a run's page: errors by class, calibration, and the worst rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean

from candelabra.predictions.errors import ORDERS
from candelabra.predictions.rows import Kind, TaskRows
from candelabra.report.calibration import calibration_of
from candelabra.report.classes import (
    class_table,
    confused_pairs,
    confusion,
    entity_table,
    recount,
)
from candelabra.report.formats import number
from candelabra.report.run_pictures import (
    bars_plot,
    calibration_plot,
    confusion_plot,
    histogram_plot,
    scatter_plot,
)
from candelabra.report.texts import Texts
from candelabra.report.view import Figure, Section, Table
from candelabra.report.worst import error_table, worst_rows

MOST_CLASSES = 25
"""Number of classes up to which a confusion matrix is drawn."""
MOST_OPEN = 15
"""Number of rows above which a table is folded."""
TOLERANCE = 1e-4
PROSE = ("text", "text 1", "text 2", "text 3", "missed", "wrongly predicted")
"""Columns with long texts in the table of errors."""

Parts = tuple[list[Figure], list[Table]]
"""Pictures and tables of a task."""


def task_section(
    task: str,
    rows: TaskRows,
    *,
    place: int,
    metrics: Mapping[str, float],
    most: int,
    texts: Callable[[], Texts],
) -> Section:
    """Return the section of a task with predictions.

    Args:
        task: Name of the task.
        rows: Test rows of the task.
        place: Number of the section, for the names of its pictures.
        metrics: Test metrics of the task by name.
        most: Maximum number of errors to show.
        texts: Function that reads the texts of the rows; called if there are errors to show.
    """
    figures, tables = _PARTS[rows.kind](rows, place)
    calibration = calibration_of(rows)
    if calibration is not None:
        caption = (
            f"Expected calibration error {number(calibration.error)}. On the line, the fraction of "
            "correct answers equals their probability; below it, the model is overconfident. A "
            "larger dot stands for more answers."
        )
        picture = calibration_plot(f"calibration-{place}", calibration)
        figures.append(Figure("Calibration", picture, caption))
    warnings = _mismatch(rows, metrics)
    errors = worst_rows(rows, most)
    if errors:
        found = texts()
        warnings += (
            [f"The errors are shown without texts. {found.problem}"] if found.problem else []
        )
        tables.append(
            Table(
                f"The {len(errors)} worst errors",
                error_table(rows, errors, found.by_row),
                (*PROSE, "label", "prediction"),
                PROSE,
                f"{ORDERS[rows.kind]} Rows are counted from 0 in the source.",
                folded=True,
            )
        )
    return Section(task, f"{len(rows):,} test rows.", warnings, figures, tables)


def _classes(rows: TaskRows, place: int) -> Parts:
    names, counts_CC = confusion(rows)
    figures, tables = [], []
    if len(names) <= MOST_CLASSES:
        picture = confusion_plot(f"confusion-{place}", names, counts_CC)
        caption = (
            "Rows by label (down) and prediction (across). Darker: a larger fraction of the label."
        )
        figures.append(Figure("Confusion matrix", picture, caption))
    cells = class_table(rows)
    tables.append(Table("Each class", cells, ("class",), folded=len(cells) > MOST_OPEN))
    pairs = confused_pairs(names, counts_CC)
    if len(names) > 2 and pairs:
        tables.append(
            Table("Most frequent confusions", pairs, ("label", "prediction"), folded=True)
        )
    return figures, tables


def _label_sets(rows: TaskRows, place: int) -> Parts:
    cells = class_table(rows)
    note = "Each label is scored separately."
    return [], [Table("Each label", cells, ("class",), note=note, folded=len(cells) > MOST_OPEN)]


def _spans(rows: TaskRows, place: int) -> Parts:
    note = "An entity is correct if its type and both ends are."
    cells = entity_table(rows)
    scores = {row["type"]: float(row["F1"]) for row in cells[:MOST_CLASSES]}
    picture = bars_plot(f"types-{place}", scores, label="F1")
    figures = [Figure("F1 by entity type", picture, "The most frequent type is on top.")]
    return figures if cells else [], [Table("Each entity type", cells, ("type",), note=note)]


def _numbers(rows: TaskRows, place: int) -> Parts:
    picture = scatter_plot(
        f"scatter-{place}", rows.labels, rows.predictions, labels=("label", "prediction")
    )
    distance = fmean(abs(a - b) for a, b in zip(rows.labels, rows.predictions, strict=True))
    caption = f"Each dot is a test row. Mean distance from the label: {number(distance)}."
    return [Figure("Predictions", picture, caption)], []


def _similarities(rows: TaskRows, place: int) -> Parts:
    label = "cosine similarity"
    if all(isinstance(each, float) for each in rows.labels) and len(set(rows.labels)) > 1:
        picture = scatter_plot(
            f"scatter-{place}", rows.labels, rows.predictions, labels=("score", label)
        )
        return [Figure("Similarities", picture, "Each dot is a test pair.")], []
    groups: dict[str, list[float]] = {}
    for gold, predicted in zip(rows.labels, rows.predictions, strict=True):
        groups.setdefault(gold if isinstance(gold, str) else "pairs that belong", []).append(
            predicted
        )
    picture = histogram_plot(f"similarities-{place}", groups, label=label)
    return [Figure("Similarities", picture, "Test pairs by similarity.")], []


def _triplets(rows: TaskRows, place: int) -> Parts:
    label = "similarity to positive minus negative"
    picture = histogram_plot(f"margins-{place}", {"triplets": rows.predictions}, label=label)
    correct = fmean(margin > 0 for margin in rows.predictions)
    return [Figure("Margins", picture, f"{correct:.1%} of the triplets are above 0.")], []


_PARTS: dict[Kind, Callable[[TaskRows, int], Parts]] = {
    Kind.CLASS: _classes,
    Kind.LABELS: _label_sets,
    Kind.SPANS: _spans,
    Kind.NUMBER: _numbers,
    Kind.SIMILARITY: _similarities,
    Kind.TRIPLET: _triplets,
}


def _mismatch(rows: TaskRows, metrics: Mapping[str, float]) -> list[str]:
    """Return a warning if the predictions do not reproduce the metric that the run recorded."""
    found = recount(rows)
    if found is None or found[0] not in metrics:
        return []
    name, value = found
    if abs(value - metrics[name]) <= TOLERANCE:
        return []
    return [
        f"metrics.json says {name} {metrics[name]:.4f}; the predictions give {value:.4f}. Either "
        "the two files are not from the same test, or entities were cut off with the end of a long "
        "text: only the predictions count those."
    ]
