"""Test predictions as rows of a table, those that are most wrong first.

A line of `predictions/<task>.jsonl` has the keys `row`, `label` and `prediction`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from candelabra.errors import printable

MOST_CHARACTERS = 1000
"""Longest cell of a table; what a run predicted is whole in `predictions/`."""


@dataclass(frozen=True)
class PredictionRow:
    """One test row.

    Attributes:
        row: Index of the row in its source, counted from 0.
        gold: Gold label as a name, a number, or the spans without their texts.
        predicted: Prediction in the same form.
        score: Probability of the prediction (for spans: of the least certain one); `None` where
            there is none.
        wrong: How wrong the prediction is: the number of errors, or a distance.
        doubt: Order among rows that are equally wrong, the largest first.
    """

    row: int
    gold: str | float
    predicted: str | float
    score: float | None
    wrong: float
    doubt: float


def read_predictions(file: Path) -> list[Mapping[str, Any]]:
    """Return the lines of a file of predictions that have a label.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not JSON.
    """
    with file.open(encoding="utf-8") as stream:
        return [line for line in map(json.loads, stream) if not _is_missing(line["label"])]


def worst_first(lines: Sequence[Mapping[str, Any]]) -> list[PredictionRow]:
    """Return the test rows in the order of their errors, the worst first.

    Similarities are compared with gold scores by their ranks, since they need not be on one scale.

    Args:
        lines: Lines of a file of predictions.
    """
    rows = [_prediction_row(line) for line in lines]
    if rows and all(_is_similarity(line) for line in lines):
        rows = _by_rank(rows)
    return sorted(rows, key=lambda each: (-each.wrong, -each.doubt, each.row))


def classes_of(lines: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return the names of the classes, or `None` if the rows do not have one class each.

    The order is that of the probabilities; names that these lack follow in alphabetical order.
    """
    if not lines or not all(_is_class(line) for line in lines):
        return None
    names = dict.fromkeys(map(str, lines[0]["prediction"].get("probabilities", ())))
    found = {name for line in lines for name in (line["label"], line["prediction"]["label"])}
    return [*names, *sorted(found - names.keys())]


def _prediction_row(line: Mapping[str, Any]) -> PredictionRow:
    gold, said = line["label"], line["prediction"]
    if isinstance(said, list):
        return _spans(line["row"], gold, said)
    if "labels" in said:
        names = [_cell(", ".join(each)) for each in (gold, said["labels"])]
        of_row = said.get("probabilities", {})
        distance = sum(abs(value - (name in gold)) for name, value in of_row.items())
        wrong = len({*gold} ^ {*said["labels"]})
        return PredictionRow(line["row"], names[0], names[1], None, wrong, distance)
    if "label" in said:
        doubt = -said.get("probabilities", {}).get(gold, 0.0)
        cells = _cell(str(gold)), _cell(str(said["label"]))
        return PredictionRow(
            line["row"], *cells, said.get("score"), float(gold != said["label"]), doubt
        )
    return _number(line["row"], gold, said)


def _number(row: int, gold: Any, said: Mapping[str, float]) -> PredictionRow:
    """Return the row of a number, a similarity, or a triplet, which is wrong below 0."""
    if "to_negative" in said:
        margin = said["similarity"] - said["to_negative"]
        return PredictionRow(row, 0.0, margin, None, max(0.0, -margin), -margin)
    found = float(said["number"] if "number" in said else said["similarity"])
    if isinstance(gold, str):
        return PredictionRow(row, _cell(gold), found, None, 0.0, 0.0)
    return PredictionRow(row, float(gold), found, None, abs(found - gold), 0.0)


def _spans(row: int, gold: Sequence[Any], said: Sequence[Any]) -> PredictionRow:
    both = [{(one["type"], one["start"], one["end"]) for one in spans} for spans in (gold, said)]
    scores = [one["score"] for one in said if "score" in one]
    cells = [_cell("; ".join(_span(one) for one in spans)) for spans in (gold, said)]
    least = min(scores, default=None)
    sure = max(scores, default=0.0)
    return PredictionRow(row, cells[0], cells[1], least, float(len(both[0] ^ both[1])), sure)


def _span(one: Mapping[str, Any]) -> str:
    """Return type and offsets; the words of a span are a text of the data."""
    return f"{one['type']} {one['start']}-{one['end']}"


def _by_rank(rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Set how wrong a row is to the distance of its ranks, as a share of all rows."""
    from scipy.stats import rankdata

    ranks = [rankdata([getattr(each, name) for each in rows]) for name in ("gold", "predicted")]
    return [
        replace(each, wrong=abs(float(gold - said)) / len(rows))
        for each, gold, said in zip(rows, *ranks, strict=True)
    ]


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _is_class(line: Mapping[str, Any]) -> bool:
    said = line["prediction"]
    return isinstance(said, Mapping) and "label" in said and isinstance(line["label"], str)


def _is_similarity(line: Mapping[str, Any]) -> bool:
    said = line["prediction"]
    known = isinstance(said, Mapping) and "similarity" in said and "to_negative" not in said
    return known and not isinstance(line["label"], str)


def _cell(text: str) -> str:
    whole = printable(text)
    return whole if len(whole) <= MOST_CHARACTERS else f"{whole[:MOST_CHARACTERS]}…"
