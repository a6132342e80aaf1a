"""Bootstrap scores and tests of models that were evaluated on the same test rows.

Confidence intervals are from a paired percentile bootstrap over the rows (Efron 1979): both models
are scored on the same resamples, and scores such as F1 are recomputed on each. Equal rows are drawn
together from a multinomial distribution, which is equivalent and much faster.

Shapes: N rows, K distinct rows, S numbers per row, R resamples, M models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NUMBERS_AT_A_TIME = 1 << 22
CONFIDENCE = 0.95

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function `(items_NS, counts_RN) -> scores_R`, where row n occurs counts_RN[r, n] times."""


def accuracy(items_N1: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Compute the accuracy of each resample, where an item is 1 if correct and 0 otherwise.

    Example:
        >>> accuracy(np.array([[1.0], [0.0]]), np.array([[1.0, 3.0]])).tolist()
        [0.25]
    """
    return counts_RN @ items_N1[:, 0] / counts_RN.sum(1)


def f1(items_N3: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Compute the micro F1 of each resample, 0 if nothing is predicted or gold.

    Items are the numbers of correct, predicted and gold spans or labels.

    Example:
        >>> f1(np.array([[1.0, 2.0, 2.0]]), np.array([[1.0]])).tolist()
        [0.5]
    """
    correct_R, predicted_R, gold_R = (counts_RN @ items_N3).T
    return 2 * correct_R / np.maximum(predicted_R + gold_R, 1)


def pearson(items_N2: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Compute the Pearson correlation of each resample, 0 if a sequence is constant.

    Items are the predicted and the target number.

    Example:
        >>> pearson(np.array([[1.0, 2.0], [2.0, 4.0]]), np.ones((1, 2))).round(6).tolist()
        [1.0]
    """
    return _correlation(items_N2[None, :, 0], items_N2[None, :, 1], counts_RN)


def spearman(items_N2: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Compute the Spearman correlation of each resample, with ranks within the resample.

    Items are the predicted and the target number.
    """
    found_RN, right_RN = (_ranks(values_N, counts_RN) for values_N in items_N2.T)
    return _correlation(found_RN, right_RN, counts_RN)


@dataclass(frozen=True)
class Difference:
    """Difference between the score of another model and that of the first.

    Attributes:
        difference: Difference on all rows.
        low: Lower end of the confidence interval.
        high: Upper end of the confidence interval.
    """

    difference: float
    low: float
    high: float


def paired_bootstrap(
    score: Score,
    first_NS: np.ndarray,
    other_NS: np.ndarray,
    *,
    resamples: int,
    seed: int,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compute the difference between the scores of two models with a confidence interval.

    Args:
        score: Function that computes the score.
        first_NS: Items of the first model.
        other_NS: Items of the other model for the same rows.
        resamples: Number of bootstrap resamples. With 2,000, the ends of the interval vary by about
            2% of its width between seeds.
        seed: Seed of the random generator.
        confidence: Confidence level, from 0 to 1.

    Raises:
        ValueError: There are no rows, or the shapes differ.
    """
    if first_NS.shape != other_NS.shape or not len(first_NS):
        raise ValueError(
            "a paired comparison needs the same rows, one or more, of both models; "
            f"found {first_NS.shape} and {other_NS.shape}"
        )
    both = [first_NS, other_NS]
    drawn = np.subtract(*bootstrap_scores(score, both, resamples=resamples, seed=seed).T[::-1])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    first, other = (float(score(each, np.ones((1, len(each))))[0]) for each in both)
    return Difference(other - first, float(low), float(high))


def bootstrap_scores(
    score: Score,
    models: Sequence[np.ndarray],
    *,
    resamples: int,
    seed: int | Sequence[int],
) -> np.ndarray:
    """Compute the scores of several models on the same resamples of the rows.

    Args:
        score: Function that computes the score.
        models: Items (N, S) of each model, for the same rows in the same order.
        resamples: Number of bootstrap resamples.
        seed: Seed of the random generator.

    Returns:
        Scores (R, M) of each resample and model.

    Raises:
        ValueError: There is no model or no row, or the shapes differ.
    """
    shapes = sorted({items_NS.shape for items_NS in models})
    if len(shapes) != 1 or not shapes[0][0]:
        raise ValueError(f"models must have the same rows, one or more; found the shapes {shapes}")
    rows, counts_K = np.unique(np.hstack(models), axis=0, return_counts=True)
    parts = np.split(rows, len(models), axis=1)
    return np.concatenate(
        [
            np.stack([score(part, counts_RK) for part in parts], axis=1)
            for counts_RK in _draws(counts_K, resamples, seed)
        ]
    )


def mcnemar(first_N: np.ndarray, other_N: np.ndarray) -> float:
    """Compute the two-sided p-value of the exact McNemar test (McNemar 1947).

    It is the probability of a difference at least as large between two equally accurate models.

    Args:
        first_N: True where the first model is correct.
        other_N: True where the other model is correct.

    Example:
        >>> mcnemar(np.array([True, False, False]), np.array([True, True, True]))
        0.5
    """
    won, lost = int((other_N & ~first_N).sum()), int((first_N & ~other_N).sum())
    term, total = 1, 0
    for k in range(min(won, lost) + 1):
        total += term
        term = term * (won + lost - k) // (k + 1)
    return min(1.0, 2 * total / 2 ** (won + lost))


def _draws(counts_K: np.ndarray, resamples: int, seed: int | Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the counts (r, K) of distinct rows in resamples, with r limited by memory."""
    generator = np.random.default_rng(seed)
    size = int(counts_K.sum())
    step = max(1, NUMBERS_AT_A_TIME // len(counts_K))
    for begin in range(0, resamples, step):
        num = min(step, resamples - begin)
        yield generator.multinomial(size, counts_K / size, size=num).astype(float)


def _ranks(values_N: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Compute ranks (R, N) of repeated rows, where equal values share their mean rank."""
    _, group_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    starts = np.flatnonzero(np.diff(group_N[order_N], prepend=-1))
    sizes_RG = np.add.reduceat(counts_RN[:, order_N], starts, axis=1)
    return (sizes_RG.cumsum(1) - (sizes_RG - 1) / 2)[:, group_N]


def _correlation(found: np.ndarray, right: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    total_R1 = counts_RN.sum(1, keepdims=True)
    found, right = (
        each - (counts_RN * each).sum(1, keepdims=True) / total_R1 for each in (found, right)
    )
    both = np.sqrt((counts_RN * found**2).sum(1) * (counts_RN * right**2).sum(1))
    products = (counts_RN * found * right).sum(1)
    return np.divide(products, both, out=np.zeros_like(products), where=both > 0)
