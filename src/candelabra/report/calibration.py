"""Calibration: whether answers with probability p are right in a fraction p of the cases.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2. Shapes: N answers, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from candelabra.predictions.rows import Kind, TaskRows

NUM_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Reliability of the probabilities, by bins of equal width.

    Attributes:
        confidences: Mean probability in each bin that is not empty.
        accuracies: Fraction of correct answers in each of these bins.
        counts: Number of answers in each of these bins.
        error: Expected calibration error: mean distance of confidence and accuracy, weighted by the
            counts.
    """

    confidences: Sequence[float]
    accuracies: Sequence[float]
    counts: Sequence[int]
    error: float


def calibration_of(rows: TaskRows) -> Calibration | None:
    """Return the calibration of a task's answers, or `None` if their probabilities are unknown.

    An answer is the predicted class of a row, each label of a row with several labels, or a
    predicted entity.
    """
    answers = _answers(rows)
    if not answers:
        return None
    confidences_N, correct_N = (np.array(each, dtype=float) for each in zip(*answers, strict=True))
    return _calibration(confidences_N, correct_N)


def _answers(rows: TaskRows) -> list[tuple[float, bool]]:
    """Return the probability of each answer, and whether it is correct."""
    pairs = list(zip(rows.labels, rows.predictions, strict=True))
    if rows.kind is Kind.SPANS:
        spans = [(span, set(gold)) for gold, predicted in pairs for span in predicted]
        known = all(span.score is not None and 0 <= span.score <= 1 for span, _ in spans)
        return [(span.score or 0.0, span in gold) for span, gold in spans] if known else []
    with_probabilities = list(zip(pairs, rows.probabilities, strict=False))
    if rows.kind is Kind.LABELS:
        return [
            (probability, name in gold)
            for (gold, _), of_row in with_probabilities
            for name, probability in of_row.items()
        ]
    return [
        (of_row.get(predicted, 0.0), gold == predicted)
        for (gold, predicted), of_row in with_probabilities
    ]


def _calibration(confidences_N: np.ndarray, correct_N: np.ndarray) -> Calibration:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    edges = np.linspace(0, 1, NUM_BINS + 1)
    # As in torchmetrics, a bin contains its lower edge only. The last bin contains both edges.
    bins_N = np.clip(np.searchsorted(edges, confidences_N, side="right") - 1, 0, NUM_BINS - 1)
    counts_K = np.bincount(bins_N, minlength=NUM_BINS)
    kept = counts_K > 0
    confidences_K, correct_K = (
        np.bincount(bins_N, each, NUM_BINS)[kept] / counts_K[kept]
        for each in (confidences_N, correct_N)
    )
    error = binary_calibration_error(
        torch.tensor(confidences_N), torch.tensor(correct_N).long(), n_bins=NUM_BINS, norm="l1"
    )
    return Calibration(
        confidences_K.tolist(), correct_K.tolist(), counts_K[kept].tolist(), float(error)
    )
