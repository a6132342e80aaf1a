"""Test rows of one task with their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Prediction of a task for a row."""

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
        entity: Its type.
        start: Offset of its first character.
        end: Offset after its last character.
        text: Its text.
        score: Mean probability of its tags; `None` for a gold span.
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
        kind: What the task predicts.
        rows: Index of each row in its source, counted from 0.
        labels: Gold label of each row: a name, a list of names, a list of `Span`, or a number.
        predictions: Predicted value of each row, of the same type as its label; for a triplet the
            similarity to the positive minus that to the negative.
        probabilities: Probability of each label for each row; empty if it is not known.
    """

    kind: Kind
    rows: Sequence[int]
    labels: Sequence[Any]
    predictions: Sequence[Any]
    probabilities: Sequence[Mapping[str, float]] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def probabilities_of(self, place: int) -> Mapping[str, float]:
        """Return the probability of each label for one row; empty if it is not known."""
        return self.probabilities[place] if self.probabilities else {}


def class_names(rows: TaskRows) -> list[str]:
    """Return the names of all classes, in the order of the probabilities if there are any."""
    names = dict.fromkeys(rows.probabilities[0] if rows.probabilities else ())
    several = [*rows.labels, *rows.predictions]
    found = (name for each in several for name in ([each] if isinstance(each, str) else each))
    return [*names, *sorted(set(found) - names.keys())]
