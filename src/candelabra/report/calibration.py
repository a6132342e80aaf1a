"""Calibration: whether the probabilities of a model are as high as its answers are right.

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
        accuracies: Part of the answers in these bins that is right.
        counts: Number of answers in these bins.
        error: Expected calibration error: the mean distance of the two, weighted by the counts.
    """

    confidences: Sequence[float]
    accuracies: Sequence[float]
    counts: Sequence[int]
    error: float


def calibration_of(rows: TaskRows) -> Calibration | None:
    """Return the calibration of a task's answers, or `None` if their probabilities are unknown.

    The answers are: the predicted class of a row; every label of a row with several labels; every
    predicted entity.
    """
    answers = _answers(rows)
    if not answers:
        return None
    confidences_N, right_N = (np.array(each, dtype=float) for each in zip(*answers, strict=True))
    return _calibration(confidences_N, right_N)


def _answers(rows: TaskRows) -> list[tuple[float, bool]]:
    """Return the probability of each answer, and whether it is right."""
    pairs = list(zip(rows.labels, rows.predictions, strict=True))
    if rows.kind is Kind.SPANS:
        spans = [(span, set(gold)) for gold, said in pairs for span in said]
        known = all(span.score is not None and 0 <= span.score <= 1 for span, _ in spans)
        return [(span.score or 0.0, span in gold) for span, gold in spans] if known else []
    with_probabilities = list(zip(pairs, rows.probabilities, strict=False))
    if rows.kind is Kind.LABELS:
        return [
            (probability, name in gold)
            for (gold, _), of_row in with_probabilities
            for name, probability in of_row.items()
        ]
    return [(of_row.get(said, 0.0), gold == said) for (gold, said), of_row in with_probabilities]


def _calibration(confidences_N: np.ndarray, right_N: np.ndarray) -> Calibration:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    edges = np.linspace(0, 1, NUM_BINS + 1)
    # A bin has its lower edge and not its upper one, as in torchmetrics; the last one has both.
    bins_N = np.clip(np.searchsorted(edges, confidences_N, side="right") - 1, 0, NUM_BINS - 1)
    counts_K = np.bincount(bins_N, minlength=NUM_BINS)
    kept = counts_K > 0
    confidences_K, right_K = (
        np.bincount(bins_N, each, NUM_BINS)[kept] / counts_K[kept]
        for each in (confidences_N, right_N)
    )
    error = binary_calibration_error(
        torch.tensor(confidences_N), torch.tensor(right_N).long(), n_bins=NUM_BINS, norm="l1"
    )
    return Calibration(
        confidences_K.tolist(), right_K.tolist(), counts_K[kept].tolist(), float(error)
    )
