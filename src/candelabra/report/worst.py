"""Table of the worst errors of a task, with the texts of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from candelabra.predictions.errors import Error, worst_first
from candelabra.predictions.rows import Kind, Span, TaskRows
from candelabra.report.formats import EMPTY, clipped, number
from candelabra.report.view import Cells


def worst_rows(rows: TaskRows, most: int) -> list[Error]:
    """Return the worst errors, the worst first.

    Args:
        rows: Rows of the task.
        most: Maximum number of errors.
    """
    return list(islice((error for error in worst_first(rows) if error.size > 0), most))


def error_table(
    rows: TaskRows, errors: Sequence[Error], texts: Mapping[int, Sequence[str]]
) -> list[Cells]:
    """Return the table of errors.

    Args:
        rows: Rows of the task.
        errors: Errors to show.
        texts: Texts by row in the source; empty if they are not known.
    """
    shown = []
    for error in errors:
        row = rows.rows[error.place]
        several = texts.get(row, ())
        names = ["text"] if len(several) == 1 else [f"text {n}" for n in range(1, len(several) + 1)]
        cells = dict(zip(names, map(clipped, several), strict=True))
        shown.append({"row": str(row), **cells, **_CELLS[rows.kind](rows, error)})
    return shown


def _class(rows: TaskRows, error: Error) -> Cells:
    gold, predicted = rows.labels[error.place], rows.predictions[error.place]
    cells = {"label": clipped(gold), "prediction": clipped(predicted)}
    if rows.probabilities:
        of_row = rows.probabilities_of(error.place)
        cells |= {"probability of it": number(of_row.get(predicted))}
        cells |= {"of the label": number(of_row.get(gold))}
    return cells


def _several(rows: TaskRows, error: Error) -> Cells:
    gold, predicted = rows.labels[error.place], rows.predictions[error.place]
    return {
        "missed": _listed(each for each in gold if each not in predicted),
        "wrongly predicted": _listed(each for each in predicted if each not in gold),
    }


def _number(rows: TaskRows, error: Error) -> Cells:
    gold, predicted = rows.labels[error.place], rows.predictions[error.place]
    return {
        "label": number(gold),
        "prediction": number(predicted),
        "difference": f"{predicted - gold:+.4f}",
    }


def _similarity(rows: TaskRows, error: Error) -> Cells:
    gold, predicted = rows.labels[error.place], rows.predictions[error.place]
    return {
        "score": number(gold),
        "similarity": number(predicted),
        "rank off by": f"{error.size:.0%}",
    }


def _triplet(rows: TaskRows, error: Error) -> Cells:
    return {"similarity to positive minus negative": f"{rows.predictions[error.place]:+.4f}"}


_CELLS: dict[Kind, Callable[[TaskRows, Error], Cells]] = {
    Kind.CLASS: _class,
    Kind.LABELS: _several,
    Kind.SPANS: _several,
    Kind.NUMBER: _number,
    Kind.SIMILARITY: _similarity,
    Kind.TRIPLET: _triplet,
}


def _listed(several: Iterable[str | Span]) -> str:
    words = (f"{each.entity}: {each.text}" if isinstance(each, Span) else each for each in several)
    return clipped("; ".join(words)) or EMPTY
