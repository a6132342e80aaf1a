"""Errors of predictions, and their order, for each kind of task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from candelabra.predictions.rows import Kind, TaskRows

ORDERS = {
    Kind.CLASS: "Wrong answers with the lowest probability of the label first.",
    Kind.LABELS: "Rows with most wrong labels first; among equals, those whose probabilities are "
    "farthest from their labels.",
    Kind.SPANS: "Rows with most wrong entities first. An entity is wrong if it was missed, or was "
    "predicted with a wrong type or wrong ends.",
    Kind.NUMBER: "Largest distance from the label first.",
    Kind.SIMILARITY: "Largest distance between the rank of the similarity and that of the label "
    "first.",
    Kind.TRIPLET: "Rows whose negative is nearer than the positive, the largest distance first.",
}
"""Order of the rows in `worst_first`, in words for a page."""


@dataclass(frozen=True)
class Error:
    """Error of the prediction for one row.

    Attributes:
        place: Index of the row among those of the task.
        size: Number of errors, or a distance; 0 for a correct prediction.
        tie_break: Order among rows of equal `size`, the largest first.
    """

    place: int
    size: float
    tie_break: float


def worst_first(rows: TaskRows) -> list[Error]:
    """Return the error of each row, the largest first.

    Args:
        rows: Rows of the task.
    """
    sizes = _SIZES[rows.kind](rows)
    errors = [Error(place, size, tie_break) for place, (size, tie_break) in enumerate(sizes)]
    return sorted(errors, key=lambda error: (-error.size, -error.tie_break))


Sizes = Iterator[tuple[float, float]]
"""`size` and `tie_break` of the error of each row."""


def _classes(rows: TaskRows) -> Sizes:
    for place, (gold, predicted) in enumerate(zip(rows.labels, rows.predictions, strict=True)):
        yield float(gold != predicted), -rows.probabilities_of(place).get(gold, 0.0)


def _label_sets(rows: TaskRows) -> Sizes:
    for place, (gold, predicted) in enumerate(zip(rows.labels, rows.predictions, strict=True)):
        of_row = rows.probabilities_of(place).items()
        distance = sum(abs(value - (name in gold)) for name, value in of_row)
        yield float(len({*gold} ^ {*predicted})), distance


def _spans(rows: TaskRows) -> Sizes:
    for gold, predicted in zip(rows.labels, rows.predictions, strict=True):
        num_missed = sum(span not in predicted for span in gold)
        false = [span for span in predicted if span not in gold]
        yield float(num_missed + len(false)), max((span.score or 0.0 for span in false), default=0)


def _numbers(rows: TaskRows) -> Sizes:
    for gold, predicted in zip(rows.labels, rows.predictions, strict=True):
        yield abs(predicted - gold), 0.0


def _similarities(rows: TaskRows) -> Sizes:
    """Yield the distances of the ranks, since similarities and gold scores differ in scale."""
    if not all(isinstance(label, float) for label in rows.labels):
        return ((0.0, 0.0) for _ in rows.labels)
    from scipy.stats import rankdata

    gold_N, predicted_N = (rankdata(each) / len(rows) for each in (rows.labels, rows.predictions))
    if len(set(rows.labels)) < 2:  # equal gold scores have no order
        gold_N = predicted_N
    return ((distance, 0.0) for distance in np.abs(gold_N - predicted_N).tolist())


def _triplets(rows: TaskRows) -> Sizes:
    for margin in rows.predictions:
        # A tie is an error too, as in the accuracy of triplets.
        yield max(0.0, math.nextafter(-margin, math.inf)), -margin


_SIZES: dict[Kind, Callable[[TaskRows], Sizes]] = {
    Kind.CLASS: _classes,
    Kind.LABELS: _label_sets,
    Kind.SPANS: _spans,
    Kind.NUMBER: _numbers,
    Kind.SIMILARITY: _similarities,
    Kind.TRIPLET: _triplets,
}
