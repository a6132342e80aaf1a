"""What models said of test rows -> the numbers that a score is counted from.

A row is a line of `predictions/<task>.jsonl`: `row`, `label` and `prediction`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from candelabra.comparing import Score, f1, pearson, share, spearman

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """Rows as numbers.

    Attributes:
        score: What is counted from them.
        items_NS: The numbers of each row.
    """

    score: Score
    items_NS: np.ndarray

    @property
    def value(self) -> float:
        """The score of all rows."""
        return float(self.score(self.items_NS, np.ones((1, len(self.items_NS))))[0])


def judged(metric: str, rows: Sequence[Row]) -> Judged | None:
    """The numbers that `metric` is counted from, or None where rows do not tell it.

    Accuracy, F1 of spans or of several labels, and correlations are told; a macro mean or the
    place in a search is not. Rows without a label are left out.

    Args:
        metric: The key of a metric, such as `accuracy`.
        rows: What a model said of each row.
    """
    if metric not in KINDS:
        return None
    score, numbers_of = KINDS[metric]
    items = [numbers_of(row["label"], row["prediction"]) for row in rows if _known(row["label"])]
    told = [item for item in items if item is not None]
    if not told or len(told) < len(items):
        return None
    return Judged(score, np.array(told, dtype=float))


def _known(label: Any) -> bool:
    return label is not None and not (isinstance(label, float) and math.isnan(label))


def _hit(label: Any, said: Any) -> list[float] | None:
    """Whether a class is right, or a positive is nearer than a negative."""
    if isinstance(said, Mapping) and "to_negative" in said:
        return [float(said["similarity"] > said["to_negative"])]
    if isinstance(said, Mapping) and "label" in said:
        return [float(said["label"] == label)]
    return None


def _matches(label: Any, said: Any) -> list[float] | None:
    """How many spans, or labels of several, are correct, predicted and gold."""
    found = said.get("labels") if isinstance(said, Mapping) else said
    if not isinstance(label, list) or not isinstance(found, list):
        return None
    gold, predicted = ({_key(each) for each in several} for several in (label, found))
    return [len(gold & predicted), len(predicted), len(gold)]


def _key(one: Any) -> Any:
    return (one["type"], one["start"], one["end"]) if isinstance(one, Mapping) else one


def _numbers(label: Any, said: Any) -> list[float] | None:
    """The found number, or similarity, and the right one."""
    if not isinstance(said, Mapping) or isinstance(label, str):
        return None
    found = said.get("number", said.get("similarity"))
    return None if found is None else [float(found), float(label)]


KINDS: dict[str, tuple[Score, Callable[[Any, Any], list[float] | None]]] = {
    "accuracy": (share, _hit),
    "f1": (f1, _matches),
    "f1_micro": (f1, _matches),
    "spearman": (spearman, _numbers),
    "pearson": (pearson, _numbers),
}
