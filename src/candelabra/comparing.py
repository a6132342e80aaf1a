"""Is the difference of two models more than chance? From what each said of the same test rows.

The interval is a paired bootstrap over the rows (Efron 1979; percentiles): both models are scored
on the same resamples, and an F1 is counted again in each. Equal rows are drawn together, which
gives the same distribution and takes a fraction of the time.

Shapes: N rows, S numbers of a row, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

NUMBERS_AT_A_TIME = 1 << 22
CONFIDENCE = 0.95

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(items_NS, counts_RN) -> scores_R: of rows that are there so many times each."""


def share(items_N1: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """The share of rows that are right: items are 1 or 0."""
    return counts_RN @ items_N1[:, 0] / counts_RN.sum(1)


def f1(items_N3: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Micro F1: items are how many are correct, predicted and gold; 0 where there are none."""
    correct_R, predicted_R, gold_R = (counts_RN @ items_N3).T
    return 2 * correct_R / np.maximum(predicted_R + gold_R, 1)


def pearson(items_N2: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Pearson's correlation: items are the found and the right number; 0 where either is flat."""
    return _correlation(items_N2[None, :, 0], items_N2[None, :, 1], counts_RN)


def spearman(items_N2: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Spearman's correlation, ranked again in each resample; items as for `pearson`."""
    found_RN, right_RN = (_ranks(values_N, counts_RN) for values_N in items_N2.T)
    return _correlation(found_RN, right_RN, counts_RN)


@dataclass(frozen=True)
class Difference:
    """Another model's score less the first one's.

    Attributes:
        difference: As measured.
        low: Lower end of the interval.
        high: Its upper end.
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
    """The difference of two models' scores with its interval.

    Args:
        score: What is compared.
        first_NS: The first model's rows.
        other_NS: The other's, in the same order.
        resamples: How many; of 2,000 an end varies by some 2% of the interval's width.
        seed: The same seed gives the same interval.
        confidence: How often such intervals hold the true difference.

    Raises:
        ValueError: There are no rows, or not as many of both.
    """
    if first_NS.shape != other_NS.shape or not len(first_NS):
        raise ValueError(
            "a paired comparison needs the same rows, one or more, of both models; "
            f"found {first_NS.shape} and {other_NS.shape}"
        )
    width = first_NS.shape[1]
    rows, counts_K = np.unique(np.hstack([first_NS, other_NS]), axis=0, return_counts=True)

    def differ(counts_RK: np.ndarray) -> np.ndarray:
        return score(rows[:, width:], counts_RK) - score(rows[:, :width], counts_RK)

    drawn = np.concatenate([differ(part) for part in _draws(counts_K, resamples, seed)])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    measured = differ(counts_K[None].astype(float))[0]
    return Difference(float(measured), float(low), float(high))


def mcnemar(first_N: np.ndarray, other_N: np.ndarray) -> float:
    """How likely two equally good models differ so much or more (McNemar 1947, exact).

    Args:
        first_N: True where the first model is right.
        other_N: True where the other is.
    """
    won, lost = int((other_N & ~first_N).sum()), int((first_N & ~other_N).sum())
    term, total = 1, 0
    for k in range(min(won, lost) + 1):
        total += term
        term = term * (won + lost - k) // (k + 1)
    return min(1.0, 2 * total / 2 ** (won + lost))


def _draws(counts_K: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each distinct row is in each resample, some resamples at a time."""
    generator = np.random.default_rng(seed)
    size = int(counts_K.sum())
    step = max(1, NUMBERS_AT_A_TIME // len(counts_K))
    for begin in range(0, resamples, step):
        num = min(step, resamples - begin)
        yield generator.multinomial(size, counts_K / size, size=num).astype(float)


def _ranks(values_N: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Places (R, N), where a row takes as many as it counts; equals share their mean."""
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
