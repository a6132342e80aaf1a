"""Read the predictions of a task, the lines of `predictions/<task>.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from candelabra.bundle.stored import is_number, stored_lines
from candelabra.errors import DataError
from candelabra.predictions.rows import Kind, Span, TaskRows


def read_rows(folder: Path, task: str) -> TaskRows | None:
    """Read the predictions of a task.

    Args:
        folder: Run folder, or output folder of an evaluation.
        task: Name of the task.

    Returns:
        The rows that have a label, or `None` if the file is missing or has no such row.

    Raises:
        DataError: A line is no prediction, or the lines are of different kinds.
    """
    name = f"predictions/{task}.jsonl"
    rows, labels, predictions, probabilities = [], [], [], []
    kind: Kind | None = None
    for number, line in enumerate(stored_lines(folder, name), 1):
        try:
            label, prediction = line["label"], line["prediction"]
            if _is_missing(label):
                continue
            kind = kind or _kind(label, prediction)
            rows.append(_index(line["row"]))
            labels.append(LABELS[kind](label))
            predictions.append(PREDICTIONS[kind](prediction))
            probabilities.append(_probabilities(prediction))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"{folder / name}, line {number}: no prediction ({reason})") from error
    if kind is None:
        return None
    label_sets = {tuple(each) for each in probabilities}
    complete = len(label_sets) == 1 and label_sets != {()}
    return TaskRows(kind, rows, labels, predictions, probabilities if complete else ())


def _kind(label: Any, prediction: Any) -> Kind:
    """Return the kind of a row by the form of its prediction.

    Raises:
        ValueError: The form is unknown.
    """
    if isinstance(prediction, list):
        return Kind.SPANS
    forms = {
        "labels": Kind.LABELS,
        "label": Kind.CLASS,
        "number": Kind.NUMBER,
        "to_negative": Kind.TRIPLET,
        "similarity": Kind.SIMILARITY,
    }
    for key, kind in forms.items():
        if isinstance(prediction, Mapping) and key in prediction:
            return kind
    raise ValueError("of no known form")


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("row must be a whole number from 0")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a label must be a name")
    return value


def _names(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("labels must be a list")
    return [_name(each) for each in value]


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError("must be a finite number")
    return float(value)


def _spans(value: Any) -> list[Span]:
    if not isinstance(value, list):
        raise TypeError("spans must be a list")
    return [
        Span(
            _name(each["type"]),
            _index(each["start"]),
            _index(each["end"]),
            str(each.get("text", "")),
            _number(each["score"]) if "score" in each else None,
        )
        for each in value
    ]


def _name_or_number(value: Any) -> str | float:
    return value if isinstance(value, str) else _number(value)


def _probabilities(prediction: Any) -> dict[str, float]:
    """Return the probabilities of a prediction; empty if they are missing or not from 0 to 1."""
    stored = prediction.get("probabilities") if isinstance(prediction, Mapping) else None
    if not isinstance(stored, Mapping):
        return {}
    valid = all(is_number(each) and 0 <= each <= 1 for each in stored.values())
    return {str(name): float(each) for name, each in stored.items()} if valid else {}


LABELS: dict[Kind, Callable[[Any], Any]] = {
    Kind.CLASS: _name,
    Kind.LABELS: _names,
    Kind.SPANS: _spans,
    Kind.NUMBER: _number,
    Kind.SIMILARITY: _name_or_number,
    Kind.TRIPLET: _number,
}
PREDICTIONS: dict[Kind, Callable[[Any], Any]] = {
    Kind.CLASS: lambda prediction: _name(prediction["label"]),
    Kind.LABELS: lambda prediction: _names(prediction["labels"]),
    Kind.SPANS: _spans,
    Kind.NUMBER: lambda prediction: _number(prediction["number"]),
    Kind.SIMILARITY: lambda prediction: _number(prediction["similarity"]),
    Kind.TRIPLET: lambda prediction: (
        _number(prediction["similarity"]) - _number(prediction["to_negative"])
    ),
}
