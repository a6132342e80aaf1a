"""Test rows of one task with their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kind of the predictions of a task."""

    CLASS = "class"
    LABELS = "labels"
    SPANS = "spans"
    NUMBER = "number"
    SIMILARITY = "similarity"
    TRIPLET = "triplet"


@dataclass(frozen=True)
class Span:
    """An entity in a text.

    Attributes:
        entity: Type of the entity.
        start: Offset of the first character.
        end: Offset after the last character.
        text: Text of the entity.
        score: Mean probability of the predicted tags; `None` for a gold span.
    """

    entity: str
    start: int
    end: int
    text: str = field(default="", compare=False)
    score: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class TaskRows:
    """Rows of one task.

    Attributes:
        kind: Kind of the predictions.
        rows: Index of each row in its source, counted from 0.
        labels: Gold label of each row: a name, a list of names, a list of `Span`, or a number.
        predictions: Predicted value of each row, of the same type as the label. For a triplet, the
            similarity to the positive minus that to the negative.
        probabilities: Probability of each label for each row; empty if unknown.
    """

    kind: Kind
    rows: Sequence[int]
    labels: Sequence[Any]
    predictions: Sequence[Any]
    probabilities: Sequence[Mapping[str, float]] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def probabilities_of(self, place: int) -> Mapping[str, float]:
        """Return the probability of each label for one row; empty if unknown."""
        return self.probabilities[place] if self.probabilities else {}


def class_names(rows: TaskRows) -> list[str]:
    """Return the names of all classes, in the order of the probabilities if there are any."""
    names = dict.fromkeys(rows.probabilities[0] if rows.probabilities else ())
    cells = [*rows.labels, *rows.predictions]
    used = (name for cell in cells for name in ([cell] if isinstance(cell, str) else cell))
    return [*names, *sorted(set(used) - names.keys())]
