"""The worst errors of a task: the rows on which it is most wrong, with their texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from candelabra.report.formats import EMPTY, clipped, number
from candelabra.report.predictions import Kind, Span, TaskRows
from candelabra.report.view import Cells

ORDERS = {
    Kind.CLASS: "Wrong answers with the lowest probability of the label first.",
    Kind.LABELS: "Rows with most wrong labels first, then by the distance of the probabilities.",
    Kind.SPANS: "Rows with most wrong entities first: missed ones, and predicted ones that are no "
    "entity or have another type or other ends.",
    Kind.NUMBER: "Largest distance from the label first.",
    Kind.SIMILARITY: "Largest distance between the rank of the similarity and that of the label "
    "first.",
    Kind.TRIPLET: "Rows whose negative is nearer than the positive, the largest distance first.",
}
"""How the errors of each kind of task are ordered."""


@dataclass(frozen=True)
class WrongRow:
    """A wrong answer.

    Attributes:
        place: Index of the row among those of the task.
        badness: Sort key, the largest first.
        cells: What the table shows of it.
    """

    place: int
    badness: tuple[float, ...]
    cells: Cells


def worst_rows(rows: TaskRows, most: int) -> list[WrongRow]:
    """Return the worst errors, the worst first.

    Args:
        rows: Rows of the task.
        most: Maximum number of errors.
    """
    wrong = [each for each in _WRONG[rows.kind](rows) if each.badness[0] > 0]
    return sorted(wrong, key=lambda each: each.badness, reverse=True)[:most]


def error_table(
    rows: TaskRows, errors: Sequence[WrongRow], texts: Mapping[int, Sequence[str]]
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
        shown.append({"row": str(row), **cells, **error.cells})
    return shown


def _classes(rows: TaskRows) -> list[WrongRow]:
    found = []
    for place, (gold, said) in enumerate(zip(rows.labels, rows.predictions, strict=True)):
        of_row = rows.probabilities[place] if rows.probabilities else {}
        cells = {"label": clipped(gold), "prediction": clipped(said)}
        if rows.probabilities:
            cells |= {"probability of it": number(of_row.get(said))}
            cells |= {"of the label": number(of_row.get(gold))}
        found.append(WrongRow(place, (float(gold != said), -of_row.get(gold, 0.0)), cells))
    return found


def _label_sets(rows: TaskRows) -> list[WrongRow]:
    found = []
    for place, (gold, said) in enumerate(zip(rows.labels, rows.predictions, strict=True)):
        of_row = rows.probabilities[place] if rows.probabilities else {}
        distance = sum(abs(value - (name in gold)) for name, value in of_row.items())
        wrong = len({*gold} ^ {*said})
        cells = {
            "missed": _listed(name for name in gold if name not in said),
            "wrongly predicted": _listed(name for name in said if name not in gold),
        }
        found.append(WrongRow(place, (float(wrong), distance), cells))
    return found


def _spans(rows: TaskRows) -> list[WrongRow]:
    found = []
    for place, (gold, said) in enumerate(zip(rows.labels, rows.predictions, strict=True)):
        missed = [span for span in gold if span not in said]
        false = [span for span in said if span not in gold]
        sure = max((span.score or 0.0 for span in false), default=0.0)
        cells = {
            "missed": _listed(map(_span_words, missed)),
            "wrongly predicted": _listed(map(_span_words, false)),
        }
        found.append(WrongRow(place, (float(len(missed) + len(false)), sure), cells))
    return found


def _numbers(rows: TaskRows) -> list[WrongRow]:
    return [
        WrongRow(
            place,
            (abs(said - gold),),
            {
                "label": number(gold),
                "prediction": number(said),
                "difference": f"{said - gold:+.4f}",
            },
        )
        for place, (gold, said) in enumerate(zip(rows.labels, rows.predictions, strict=True))
    ]


def _similarities(rows: TaskRows) -> list[WrongRow]:
    """Compare ranks: a similarity need not be on the scale of the scores."""
    if not all(isinstance(label, float) for label in rows.labels) or len(set(rows.labels)) < 2:
        return []
    from scipy.stats import rankdata

    gold_N, said_N = (rankdata(each) / len(rows) for each in (rows.labels, rows.predictions))
    distances = np.abs(gold_N - said_N).tolist()
    return [
        WrongRow(
            place,
            (distance,),
            {"score": number(gold), "similarity": number(said), "rank off by": f"{distance:.0%}"},
        )
        for place, (gold, said, distance) in enumerate(
            zip(rows.labels, rows.predictions, distances, strict=True)
        )
    ]


def _triplets(rows: TaskRows) -> list[WrongRow]:
    # A tie is an error too, as in the accuracy of triplets.
    return [
        WrongRow(
            place,
            (math.nextafter(-margin, math.inf),),
            {"similarity to positive minus negative": f"{margin:+.4f}"},
        )
        for place, margin in enumerate(rows.predictions)
    ]


_WRONG = {
    Kind.CLASS: _classes,
    Kind.LABELS: _label_sets,
    Kind.SPANS: _spans,
    Kind.NUMBER: _numbers,
    Kind.SIMILARITY: _similarities,
    Kind.TRIPLET: _triplets,
}


def _span_words(span: Span) -> str:
    return f"{span.entity}: {span.text}"


def _listed(words: Iterable[str]) -> str:
    return clipped("; ".join(words)) or EMPTY
