from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from candelabra.study.power import (
    chance_to_decide,
    guessed_variance,
    seeds_to_decide,
    smallest_detectable,
)
from candelabra.study.statistics import Variance
from candelabra.study.verdicts import Verdict, verdict_of

VARIANCE = Variance(seeds=8e-6, rows=4e-6, interaction=1e-6, num_seeds=5, num_rows=2000)


def test_the_smallest_detectable_difference_is_found_in_four_of_five_studies() -> None:
    size = smallest_detectable(VARIANCE)
    degrees, error = VARIANCE.degrees_of_freedom, VARIANCE.standard_error
    found = stats.nct.sf(stats.t.ppf(0.975, degrees), degrees, size / error)
    assert found == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("difference", [0.0, 0.002, 0.005, 0.02])
def test_chance_to_decide_counts_verdicts(difference: float) -> None:
    drawn = stats.t.rvs(VARIANCE.degrees_of_freedom, size=50_000, random_state=1)
    half = stats.t.ppf(0.975, VARIANCE.degrees_of_freedom) * VARIANCE.standard_error
    centres = difference + VARIANCE.standard_error * drawn
    for margin in (0.005, 0.012, 0.03):
        expected = np.mean(
            [
                verdict_of(at - half, at + half, margin) is not Verdict.UNDECIDED
                for at in centres[:4000]
            ]
        )
        found = chance_to_decide(difference, VARIANCE, margin=margin, confidence=0.95)
        assert found == pytest.approx(expected, abs=0.03)


def test_seeds_to_decide_is_the_first_number_that_suffices() -> None:
    num = seeds_to_decide(0.008, VARIANCE, margin=0.002, confidence=0.95)
    assert num is not None
    chances = [
        chance_to_decide(0.008, VARIANCE.with_seeds(each), margin=0.002, confidence=0.95)
        for each in (num - 1, num)
    ]
    assert chances[0] < 0.8 <= chances[1]


def test_a_guess_has_the_half_width_of_its_rows() -> None:
    guess = guessed_variance(seed_sd=0.0, row_sd=0.228, num_seeds=5, num_rows=25_000)
    assert 1.96 * guess.standard_error == pytest.approx(0.0028, abs=1e-4)
    seeds = guessed_variance(seed_sd=0.004, row_sd=0.0, num_seeds=8, num_rows=100)
    assert seeds.standard_error == pytest.approx(0.002)
