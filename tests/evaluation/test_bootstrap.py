from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from candelabra.evaluation.bootstrap import (
    Score,
    accuracy,
    f1,
    mcnemar,
    paired_bootstrap,
    pearson,
    spearman,
)

GENERATOR = np.random.default_rng(0)
RIGHT = GENERATOR.integers(0, 6, 150).astype(float)


def hits(skill: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((150, 1)) < skill).astype(float)


def spans(skill: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    gold = np.random.default_rng(9).integers(0, 4, 150)
    correct = generator.binomial(gold, skill)
    return np.stack([correct, correct + generator.integers(0, 2, 150), gold], 1).astype(float)


def numbers(noise: float, seed: int) -> np.ndarray:
    found = RIGHT + noise * np.random.default_rng(seed).normal(size=150)
    return np.stack([found.round(1), RIGHT], 1)


def by_hand(score: Score, rows: np.ndarray) -> float:
    if score is accuracy:
        return rows.mean()
    if score is f1:
        return 2 * rows[:, 0].sum() / rows[:, 1:].sum()
    reference = stats.spearmanr if score is spearman else stats.pearsonr
    return reference(*rows.T).statistic


CASES = {
    accuracy: (hits(0.7, 1), hits(0.8, 2)),
    f1: (spans(0.6, 1), spans(0.8, 2)),
    pearson: (numbers(3, 1), numbers(2, 2)),
    spearman: (numbers(3, 1), numbers(2, 2)),
}


@pytest.mark.parametrize("score", CASES)
def test_counted_rows_score_as_repeated_ones(score: Score) -> None:
    rows = CASES[score][0]
    counts = GENERATOR.integers(0, 4, (5, len(rows))).astype(float)
    repeated = [by_hand(score, np.repeat(rows, each.astype(int), axis=0)) for each in counts]
    assert score(rows, counts) == pytest.approx(repeated)


@pytest.mark.parametrize("score", CASES)
def test_the_interval_is_scipys(score: Score) -> None:
    first, other = CASES[score]
    found = paired_bootstrap(score, first, other, resamples=4000, seed=0)
    assert found.difference == pytest.approx(by_hand(score, other) - by_hand(score, first))
    reference = stats.bootstrap(
        (np.arange(150),),
        lambda rows: by_hand(score, other[rows]) - by_hand(score, first[rows]),
        n_resamples=2000,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    tolerance = 0.08 * (reference.high - reference.low)
    assert found.low == pytest.approx(reference.low, abs=tolerance)
    assert found.high == pytest.approx(reference.high, abs=tolerance)
    assert found.low < found.difference < found.high


def test_the_order_of_the_rows_and_what_is_drawn_at_a_time_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, other = CASES[f1]
    found = paired_bootstrap(f1, first, other, resamples=200, seed=3)
    order = GENERATOR.permutation(150)
    monkeypatch.setattr("candelabra.evaluation.bootstrap.NUMBERS_AT_A_TIME", 1000)
    assert paired_bootstrap(f1, first[order], other[order], resamples=200, seed=3) == found
    assert paired_bootstrap(f1, first, other, resamples=200, seed=4) != found


@pytest.mark.parametrize("score", CASES)
def test_a_model_does_not_differ_from_itself(score: Score) -> None:
    rows = CASES[score][0]
    found = paired_bootstrap(score, rows, rows, resamples=50, seed=0)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_pairs_are_kept_together() -> None:
    """Where one model is right on the rows of the other and one more, little is uncertain."""
    first = hits(0.5, 5)
    better = first.copy()
    better[np.flatnonzero(first[:, 0] == 0)[:3]] = 1
    found = paired_bootstrap(accuracy, first, better, resamples=500, seed=0)
    assert found.high - found.low < 0.06


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same rows, one or more.*\(150, 1\) and \(149, 1\)"):
        paired_bootstrap(accuracy, hits(0.5, 1), hits(0.5, 1)[1:], resamples=9, seed=0)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (3, 3), (1, 12), (40, 25), (600, 500)])
def test_mcnemar_is_the_binomial_test_of_the_rows_where_they_differ(won: int, lost: int) -> None:
    first = np.array([False] * won + [True] * lost + [True, False] * 10)
    other = np.array([True] * won + [False] * lost + [True, False] * 10)
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1
    assert mcnemar(first, other) == pytest.approx(expected)


@pytest.mark.parametrize("score", [pearson, spearman])
def test_what_is_flat_correlates_with_nothing(score: Score) -> None:
    flat = np.stack([np.ones(150), RIGHT], 1)
    assert score(flat, np.ones((1, 150))) == 0
