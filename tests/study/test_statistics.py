from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from candelabra.evaluation.bootstrap import accuracy, bootstrap_scores
from candelabra.study.statistics import Estimate, Variance, estimate, holm
from helpers.drawn_studies import Population, population_of

GENERATOR = np.random.default_rng(4)


def estimate_of(difference_SN: np.ndarray, *, resamples: int = 4000) -> Estimate:
    """The estimate for an arm whose rows differ by these numbers from a baseline of zeros."""
    drawn = bootstrap_scores(
        accuracy, [row[:, None] for row in difference_SN], resamples=resamples, seed=1
    )
    return estimate(
        difference_SN.mean(1),
        np.zeros(len(difference_SN)),
        drawn_arm_RS=drawn,
        drawn_baseline_RS=np.zeros_like(drawn),
        num_rows=difference_SN.shape[1],
    )


def crossed(seeds: float, rows: float, both: float, shape: tuple[int, int]) -> np.ndarray:
    """Numbers with crossed effects of seeds and rows of these standard deviations."""
    return (
        seeds * GENERATOR.normal(size=(shape[0], 1))
        + rows * GENERATOR.normal(size=shape[1])
        + both * GENERATOR.normal(size=shape)
    )


def test_parts_are_those_of_a_crossed_analysis_of_variance() -> None:
    values_SN = crossed(0.1, 0.5, 1.0, (6, 300))
    num_seeds, num_rows = values_SN.shape
    found = estimate_of(values_SN).variance
    seeds_S, rows_N = values_SN.mean(1), values_SN.mean(0)
    rest = values_SN - seeds_S[:, None] - rows_N + values_SN.mean()
    interaction = (rest**2).sum() / (num_seeds - 1) / (num_rows - 1)
    assert found.seeds == pytest.approx(seeds_S.var(ddof=1) / num_seeds)
    assert found.rows == pytest.approx(rows_N.var(ddof=1) / num_rows, rel=0.1)
    assert found.interaction == pytest.approx(interaction / values_SN.size, rel=0.1)


def test_agrees_with_a_mixed_model_of_crossed_effects() -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    values_SN = crossed(0.3, 0.6, 1.0, (5, 60)) + 0.2
    members = [
        np.eye(size)[at.ravel()] for size, at in zip((5, 60), np.indices((5, 60)), strict=True)
    ]
    columns = [[[str(i) for i in range(one.shape[1])]] for one in members]
    effects = VCSpec(["seed", "row"], columns, [[one] for one in members])
    ones = np.ones(values_SN.size)
    fitted = MixedLM(values_SN.ravel(), ones, groups=ones, exog_vc=effects).fit()
    found = estimate_of(values_SN)
    assert found.difference == pytest.approx(float(fitted.fe_params[0]), abs=1e-6)
    assert found.variance.standard_error == pytest.approx(float(fitted.bse_fe[0]), rel=0.1)


def test_without_rows_it_is_the_paired_t_test() -> None:
    arm_S, baseline_S = GENERATOR.normal(size=(2, 6))
    drawn = np.tile(arm_S, (10, 1))  # every resample scores the same
    found = estimate(
        arm_S,
        baseline_S,
        drawn_arm_RS=drawn,
        drawn_baseline_RS=np.tile(baseline_S, (10, 1)),
        num_rows=100,
    )
    reference = stats.ttest_rel(arm_S, baseline_S)
    assert found.p_value == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high))


def test_one_pair_of_untrained_arms_has_the_rows_alone() -> None:
    values_SN = crossed(0.0, 1.0, 0.0, (1, 400))
    found = estimate_of(values_SN)
    reference = stats.ttest_1samp(values_SN[0], 0)
    assert found.variance.seeds == 0
    assert found.p_value == pytest.approx(reference.pvalue, abs=0.05)
    assert found.chance_of_gain is None


def test_an_untrained_arm_is_paired_with_every_seed() -> None:
    drawn = GENERATOR.normal(size=(50, 4))
    baseline_S = np.array([0.1, 0.2, 0.3, 0.4])
    found = estimate(
        np.array([0.5]),
        baseline_S,
        drawn_arm_RS=drawn[:, :1],
        drawn_baseline_RS=drawn,
        num_rows=9,
    )
    assert found.by_seed == pytest.approx(tuple(0.5 - baseline_S))
    with pytest.raises(ValueError, match="same seeds; found 3 and 4"):
        estimate(
            baseline_S[:3],
            baseline_S,
            drawn_arm_RS=drawn[:, :3],
            drawn_baseline_RS=drawn,
            num_rows=9,
        )


def test_chance_of_gain_counts_new_pairs() -> None:
    differences = GENERATOR.normal(0.3, 1, (40_000, 6))
    chances = [
        Estimate(tuple(row[:5]), Variance(0.1, 0, 0, 5, 9)).chance_of_gain
        for row in differences[:4000].tolist()
    ]
    assert np.mean(chances) == pytest.approx((differences[:, 5] > 0).mean(), abs=0.02)


@pytest.mark.parametrize(("difference", "p_value"), [(0.0, 1.0), (0.1, 0.0)])
def test_no_variance_at_all(difference: float, p_value: float) -> None:
    found = Estimate((difference,) * 3, Variance(0.0, 0.0, 0.0, 3, 10))
    assert found.p_value == p_value
    assert found.interval(0.95) == pytest.approx((difference, difference))


def test_more_seeds_and_rows_shrink_what_is_theirs() -> None:
    now = Variance(seeds=6e-5, rows=5e-5, interaction=2e-5, num_seeds=4, num_rows=500)
    more_seeds, more_rows = now.with_seeds(16), now.with_rows(2000)
    assert more_seeds.total == pytest.approx(4e-5 / 4 + 3e-5 + 2e-5 / 4)
    assert more_rows.total == pytest.approx(4e-5 + 5e-5 / 4)
    for same in (now.with_seeds(4), now.with_rows(500)):
        assert same.total == pytest.approx(now.total)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats import multitest

    # It collects garbage at each call, a second in the process of a whole suite.
    with patch("gc.collect"):
        rejected, adjusted, *_ = multitest.multipletests(p_values, alpha=0.05, method="holm")
    found = holm(p_values, alpha=0.05)
    assert [one.p_value for one in found] == pytest.approx(adjusted.tolist())
    for p_value, one, reject in zip(p_values, found, rejected, strict=True):
        # The interval excludes 0 where p lies below its level.
        assert (p_value <= 1 - one.confidence + 1e-12) == bool(reject)


def test_drawn_populations_have_the_difference_that_is_asked_for() -> None:
    population = population_of(accuracy, 0.01)
    assert population.truth() == pytest.approx(0.01, abs=1e-4)
    baseline, arm = population.draw(30, 20_000, np.random.default_rng(0))
    assert np.mean(arm) - np.mean(baseline) == pytest.approx(0.01, abs=0.006)
    assert Population(accuracy).truth() == 0
