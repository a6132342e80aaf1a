"""Power of a study: the differences that it can detect, and the seeds that it would need."""

from __future__ import annotations

from scipy import stats

from candelabra.study.statistics import Variance, quantile

POWER = 0.8
MOST_SEEDS = 200
"""Maximum number of seeds that a remedy proposes."""
MOST_ROWS = 64
"""Maximum factor by which a remedy increases the test rows."""


def smallest_detectable(
    variance: Variance, *, confidence: float = 0.95, power: float = POWER
) -> float:
    """Return the smallest true difference that is detected with a given probability.

    Args:
        variance: Variance of the mean difference.
        confidence: Level of the interval.
        power: Probability that the interval excludes 0.
    """
    t = quantile((1 + confidence) / 2, variance) + quantile(power, variance)
    return t * variance.standard_error


def guessed_variance(*, seed_sd: float, row_sd: float, num_seeds: int, num_rows: int) -> Variance:
    """Return a variance for planning, before any run of the study exists.

    The difference of two arms has twice the variance between seeds. The scores of two arms on the
    same rows are assumed to correlate by 0.5, so their difference has the variance of one score.

    Args:
        seed_sd: Standard deviation of the score between seeds.
        row_sd: Standard deviation of the score of one row.
        num_seeds: Number of seeds.
        num_rows: Number of test rows.
    """
    return Variance(
        seeds=2 * seed_sd**2 / num_seeds,
        rows=row_sd**2 / num_rows,
        interaction=0.0,
        num_seeds=num_seeds,
        num_rows=num_rows,
    )


def chance_to_decide(
    difference: float, variance: Variance, *, margin: float, confidence: float
) -> float:
    """Return the probability that a study ends with a verdict other than "undecided".

    Args:
        difference: True difference.
        variance: Variance of the estimate.
        margin: Smallest difference that matters.
        confidence: Level of the interval.
    """
    half = quantile((1 + confidence) / 2, variance) * variance.standard_error
    if 2 * half <= margin:
        return 1.0  # Every interval either excludes 0 or lies within the margin.
    spread = stats.t(variance.degrees_of_freedom, difference, variance.standard_error)
    excludes_zero = spread.cdf(-half) + spread.sf(half)
    within_margin = spread.cdf(margin - half) - spread.cdf(half - margin)
    return float(excludes_zero + max(within_margin, 0.0))


def seeds_to_decide(
    difference: float,
    variance: Variance,
    *,
    margin: float,
    confidence: float,
    power: float = POWER,
) -> int | None:
    """Return the number of seeds with which a study would probably decide.

    Args:
        difference: True difference, such as the estimate of the study.
        variance: Variance of a study that did not decide.
        margin: Smallest difference that matters.
        confidence: Level of the interval.
        power: Probability of a decision.

    Returns:
        The number of seeds, above that of the study; `None` if `MOST_SEEDS` are too few.
    """

    def decides(num_seeds: int) -> bool:
        """Return whether this number of seeds decides with the wanted power."""
        expected = variance.with_seeds(num_seeds)
        chance = chance_to_decide(difference, expected, margin=margin, confidence=confidence)
        return chance >= power

    counts = range(variance.num_seeds + 1, MOST_SEEDS + 1)
    return next((num for num in counts if decides(num)), None)
