"""The method on studies with a known truth, as `drawn_studies` draws them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from candelabra.study.power import seeds_to_decide
from candelabra.study.statistics import Variance
from candelabra.study.verdicts import BETTER, Verdict, verdict_of
from helpers.drawn_studies import SCORES, Population, estimated, population_of

MARGINS = {"accuracy": 0.005, "f1": 0.01}
CELLS = [(metric, seeds, rows) for metric in SCORES for seeds in (3, 5, 10) for rows in (500, 5000)]

population = cache(lambda metric, difference: population_of(SCORES[metric], difference))


def intervals(found: Population, seeds: int, rows: int, *, studies: int) -> np.ndarray:
    """The 95% interval of each study (studies, 2)."""
    return np.array(
        [estimated(found, seeds, rows, i, resamples=400).interval(0.95) for i in range(studies)]
    )


def verdicts(ends: np.ndarray, margin: float) -> list[Verdict]:
    return [verdict_of(low, high, margin) for low, high in ends]


def coverage(ends: np.ndarray, truth: float) -> float:
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())


@pytest.mark.parametrize("metric", SCORES)
def test_intervals_cover_the_truth(metric: str) -> None:
    ends = intervals(population(metric, 0.0), 5, 500, studies=200)
    assert coverage(ends, 0.0) >= 0.9
    assert np.mean([verdict in BETTER for verdict in verdicts(ends, MARGINS[metric])]) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "seeds", "rows"), CELLS)
def test_1000_studies_without_a_difference(metric: str, seeds: int, rows: int) -> None:
    ends = intervals(population(metric, 0.0), seeds, rows, studies=1000)
    better = np.mean([verdict in BETTER for verdict in verdicts(ends, MARGINS[metric])])
    print(
        f"{metric} S={seeds} N={rows} at 0: coverage {coverage(ends, 0.0):.3f} better {better:.3f}"
    )
    assert 0.93 <= coverage(ends, 0.0) <= 0.97
    assert better <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "seeds", "rows"), CELLS)
def test_1000_studies_with_a_difference_of_the_margin(metric: str, seeds: int, rows: int) -> None:
    margin = MARGINS[metric]
    ends = intervals(population(metric, margin), seeds, rows, studies=1000)
    covered = coverage(ends, margin)
    missed = np.mean([verdict is Verdict.NO_DIFFERENCE for verdict in verdicts(ends, margin)])
    print(f"{metric} S={seeds} N={rows} at m: coverage {covered:.3f} no difference {missed:.3f}")
    assert 0.93 <= covered <= 0.97
    assert missed <= 0.05


def mean_variance(found: Population, seeds: int, rows: int, *, studies: int) -> Variance:
    variances = [estimated(found, seeds, rows, i, resamples=400).variance for i in range(studies)]
    parts = ("seeds", "rows", "interaction")
    means = {part: float(np.mean([getattr(one, part) for one in variances])) for part in parts}
    return Variance(**means, num_seeds=seeds, num_rows=rows)


@pytest.mark.slow
@pytest.mark.parametrize(("difference", "rows"), [(0.0125, 5000), (0.01, 20_000)])
def test_the_named_number_of_seeds_decides_in_four_of_five_studies(
    difference: float, rows: int
) -> None:
    found, margin = population("accuracy", difference), MARGINS["accuracy"]
    variance = mean_variance(found, 3, rows, studies=60)
    num = seeds_to_decide(difference, variance, margin=margin, confidence=0.95)
    assert num is not None
    ends = intervals(found, num, rows, studies=300)
    decided = np.mean([one is not Verdict.UNDECIDED for one in verdicts(ends, margin)])
    print(f"difference {difference} N={rows}: {num} seeds decide in {decided:.3f}")
    assert 0.7 <= decided <= 0.93
