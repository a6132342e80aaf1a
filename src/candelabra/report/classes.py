"""Counts by class: confusion matrix, and precision, recall and F1 of each class or entity type.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from candelabra.predictions.rows import Kind, TaskRows, class_names
from candelabra.report.formats import clipped, number
from candelabra.report.view import Cells

MOST_CONFUSIONS = 15


def confusion(rows: TaskRows) -> tuple[list[str], np.ndarray]:
    """Count how often each class was predicted for each gold class.

    Args:
        rows: Rows with one class each.

    Returns:
        The names of the classes, and the counts (C gold, C predicted).
    """
    from sklearn.metrics import confusion_matrix

    names = class_names(rows)
    return names, confusion_matrix(rows.labels, rows.predictions, labels=names)


def confused_pairs(names: Sequence[str], counts_CC: np.ndarray) -> list[Cells]:
    """Return the most frequent wrong pairs of gold and predicted class."""
    wrong = counts_CC * (1 - np.eye(len(names), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        {
            "label": clipped(names[gold]),
            "prediction": clipped(names[predicted]),
            "rows": f"{wrong[gold, predicted]:,}",
            "of the label": f"{wrong[gold, predicted] / counts_CC[gold].sum():.0%}",
        }
        for gold, predicted in pairs
        if wrong[gold, predicted]
    ]


def class_table(rows: TaskRows) -> list[Cells]:
    """Return precision, recall, F1 and support of each class, by scikit-learn.

    Args:
        rows: Rows with one class, or with several labels each.
    """
    from sklearn.metrics import precision_recall_fscore_support
    from sklearn.preprocessing import MultiLabelBinarizer

    names = class_names(rows)
    gold: Any = rows.labels
    predicted: Any = rows.predictions
    options: dict[str, Any] = {"labels": names}
    if rows.kind is Kind.LABELS:
        binary = MultiLabelBinarizer(classes=names)
        gold, predicted, options = binary.fit_transform(gold), binary.transform(predicted), {}
    parts = precision_recall_fscore_support(
        gold, predicted, average=None, zero_division=0, **options
    )
    return [_cells(name, *values) for name, *values in zip(names, *parts, strict=True)]


def entity_table(rows: TaskRows) -> list[Cells]:
    """Return precision, recall, F1 and support of each entity type, the most frequent first.

    As in seqeval, an entity is correct if its type and both offsets are.
    """
    correct, predicted, gold = _entity_counts(rows)
    names = sorted(gold | predicted, key=lambda name: (-gold[name], name))
    return [
        _cells(
            name,
            correct[name] / max(1, predicted[name]),
            correct[name] / max(1, gold[name]),
            2 * correct[name] / max(1, predicted[name] + gold[name]),
            gold[name],
            title="type",
        )
        for name in names
    ]


def recount(rows: TaskRows) -> tuple[str, float] | None:
    """Compute accuracy or entity F1 from the rows; `None` for other kinds of task.

    Returns:
        Name and value of the metric.
    """
    if rows.kind is Kind.CLASS:
        pairs = zip(rows.labels, rows.predictions, strict=True)
        return "accuracy", sum(gold == predicted for gold, predicted in pairs) / len(rows)
    if rows.kind is Kind.SPANS:
        correct, predicted, gold = (each.total() for each in _entity_counts(rows))
        return "f1", 2 * correct / max(1, predicted + gold)
    return None


def _entity_counts(rows: TaskRows) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count the correct, predicted and gold entities of each type."""
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for label, prediction in zip(rows.labels, rows.predictions, strict=True):
        correct.update(span.entity for span in set(label) & set(prediction))
        predicted.update(span.entity for span in set(prediction))
        gold.update(span.entity for span in set(label))
    return correct, predicted, gold


def _cells(
    name: str, precision: float, recall: float, f1: float, support: int, *, title: str = "class"
) -> Cells:
    return {
        title: clipped(name),
        "precision": number(float(precision)),
        "recall": number(float(recall)),
        "F1": number(float(f1)),
        "rows" if title == "class" else "entities": f"{int(support):,}",
    }
