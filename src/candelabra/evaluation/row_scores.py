"""Conversion of per-row predictions to the numbers that a score is computed from.

A row is a line of `predictions/<task>.jsonl` with the keys `row`, `label` and `prediction`.

Shapes: N rows, S numbers per row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from candelabra.evaluation.bootstrap import Score, accuracy, f1, pearson, spearman

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowScores:
    """Numbers of each row, and the score that is computed from them.

    Attributes:
        score: Function that computes the score.
        items_NS: Numbers of each row.
    """

    score: Score
    items_NS: np.ndarray

    @property
    def value(self) -> float:
        """Compute the score of all rows."""
        return float(self.score(self.items_NS, np.ones((1, len(self.items_NS))))[0])


def row_scores(metric: str, rows: Sequence[Row]) -> RowScores | None:
    """Convert rows to the numbers that a metric is computed from.

    Accuracy, micro F1 and correlations are supported; macro averages and retrieval metrics are
    not. Rows without a label are left out.

    Args:
        metric: Name of a metric, such as `accuracy`.
        rows: Label and prediction of each row.

    Returns:
        The numbers, or `None` if the metric cannot be computed from the rows.

    Example:
        >>> row_scores("accuracy", [{"label": "A", "prediction": {"label": "A"}}]).value
        1.0
    """
    if metric not in KINDS:
        return None
    score, numbers_of = KINDS[metric]
    items = [numbers_of(row["label"], row["prediction"]) for row in rows if _known(row["label"])]
    numbers = [item for item in items if item is not None]
    if not numbers or len(numbers) < len(items):
        return None
    return RowScores(score, np.array(numbers, dtype=float))


def _known(label: Any) -> bool:
    return label is not None and not (isinstance(label, float) and math.isnan(label))


def _hit(label: Any, prediction: Any) -> list[float] | None:
    """Return 1 for a correct class, or a positive that is nearer than the negative, else 0."""
    if isinstance(prediction, Mapping) and "to_negative" in prediction:
        return [float(prediction["similarity"] > prediction["to_negative"])]
    if isinstance(prediction, Mapping) and "label" in prediction:
        return [float(prediction["label"] == label)]
    return None


def _matches(label: Any, prediction: Any) -> list[float] | None:
    """Count the correct, predicted and gold spans or labels."""
    found = prediction.get("labels") if isinstance(prediction, Mapping) else prediction
    if not isinstance(label, list) or not isinstance(found, list):
        return None
    gold, predicted = ({_key(each) for each in several} for several in (label, found))
    return [len(gold & predicted), len(predicted), len(gold)]


def _key(one: Any) -> Any:
    return (one["type"], one["start"], one["end"]) if isinstance(one, Mapping) else one


def _numbers(label: Any, prediction: Any) -> list[float] | None:
    """Return the predicted number or similarity, and the target."""
    if not isinstance(prediction, Mapping) or isinstance(label, str):
        return None
    found = prediction.get("number", prediction.get("similarity"))
    return None if found is None else [float(found), float(label)]


KINDS: dict[str, tuple[Score, Callable[[Any, Any], list[float] | None]]] = {
    "accuracy": (accuracy, _hit),
    "f1": (f1, _matches),
    "f1_micro": (f1, _matches),
    "spearman": (spearman, _numbers),
    "pearson": (pearson, _numbers),
}
