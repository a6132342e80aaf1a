"""Estimate the difference between two arms over training seeds and over test rows.

Both the seeds and the test rows are samples. With S seeds and N rows, the variance of the mean
difference has three parts:

- `seeds` (A): variance of the differences of the seeds, divided by S;
- `rows` (B): variance of the mean difference under a bootstrap over the rows. All arms and seeds
  share each resample;
- `interaction` (C): the part that both A and B contain, since a seed acts differently on each row.
  It follows from the bootstrap variance V of the difference of one seed: C = (V - B) / (S - 1).

The squared standard error is `max(A - C, 0) + B`, the estimate of a model with crossed random
effects of seeds and rows. Its degrees of freedom are Satterthwaite's (1946).

Shapes: S seeds, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Variance:
    """Variance of a mean difference by its sources.

    Attributes:
        seeds: Variance between the differences of the seeds, divided by the number of seeds.
        rows: Bootstrap variance over the test rows.
        interaction: Part that is contained in both.
        num_seeds: Number of seeds; 1 if neither arm was trained.
        num_rows: Number of test rows.
    """

    seeds: float
    rows: float
    interaction: float
    num_seeds: int
    num_rows: int

    @property
    def total(self) -> float:
        """Return the squared standard error of the mean difference."""
        return max(self.seeds - self.interaction, 0.0) + self.rows

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean difference."""
        return math.sqrt(self.total)

    @property
    def degrees_of_freedom(self) -> float:
        """Return Satterthwaite's degrees of freedom; infinite without any variance.

        The seeds count only if their variance exceeds the interaction. Otherwise they add nothing
        to the total variance.
        """
        seeds = self.seeds if self.seeds > self.interaction else 0.0
        parts = ((seeds, self.num_seeds), (self.rows, self.num_rows))
        uncertainty = sum(part**2 / (num - 1) for part, num in parts if part > 0 and num > 1)
        return self.total**2 / uncertainty if uncertainty > 0 else math.inf

    def with_seeds(self, num_seeds: int) -> Self:
        """Return the expected variance with another number of seeds on the same rows."""
        ratio = self.num_seeds / num_seeds
        interaction = self.interaction * ratio
        return replace(
            self,
            seeds=self.seeds * ratio,
            rows=self.rows - self.interaction + interaction,
            interaction=interaction,
            num_seeds=num_seeds,
        )

    def with_rows(self, num_rows: int) -> Self:
        """Return the expected variance with the same seeds on another number of rows."""
        ratio = self.num_rows / num_rows
        interaction = self.interaction * ratio
        return replace(
            self,
            seeds=max(self.seeds - self.interaction, 0.0) + interaction,
            rows=self.rows * ratio,
            interaction=interaction,
            num_rows=num_rows,
        )


@dataclass(frozen=True)
class Estimate:
    """Mean difference between two arms.

    Attributes:
        by_seed: Difference of each seed on all rows.
        variance: Variance of their mean.
    """

    by_seed: tuple[float, ...]
    variance: Variance

    @property
    def difference(self) -> float:
        """Return the mean difference."""
        return math.fsum(self.by_seed) / len(self.by_seed)

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of no difference."""
        if self.variance.total == 0:
            return float(self.difference == 0)
        t = abs(self.difference) / self.variance.standard_error
        return float(2 * stats.t.sf(t, self.variance.degrees_of_freedom))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the ends of the t interval at a confidence level from 0 to 1."""
        half = quantile((1 + confidence) / 2, self.variance) * self.variance.standard_error
        return self.difference - half, self.difference + half

    @property
    def chance_of_gain(self) -> float | None:
        """Return the probability that the arm wins in a new pair of runs on these rows.

        The difference of a new pair has a t distribution with S - 1 degrees of freedom. The value
        is `None` for fewer than two seeds.
        """
        num = len(self.by_seed)
        if num < 2:
            return None
        spread = np.std(self.by_seed, ddof=1) * math.sqrt(1 + 1 / num)
        if spread == 0:
            return (1 + float(np.sign(self.difference))) / 2
        return float(stats.t.cdf(self.difference / spread, num - 1))


def quantile(probability: float, variance: Variance) -> float:
    """Return a quantile of the t distribution with the degrees of freedom of a variance."""
    return float(stats.t.ppf(probability, variance.degrees_of_freedom))


def estimate(
    arm_S: np.ndarray,
    baseline_S: np.ndarray,
    *,
    drawn_arm_RS: np.ndarray,
    drawn_baseline_RS: np.ndarray,
    num_rows: int,
) -> Estimate:
    """Estimate the mean difference between an arm and the baseline.

    An arm that was not trained has one score, which is paired with each seed of the other arm.

    Args:
        arm_S: Score of each seed of the arm on all rows.
        baseline_S: Score of the same seeds of the baseline.
        drawn_arm_RS: Scores of the arm on resamples of the rows.
        drawn_baseline_RS: Scores of the baseline on the same resamples.
        num_rows: Number of test rows.

    Raises:
        ValueError: The arms have different numbers of seeds, both above 1.

    Example:
        >>> drawn = np.array([[0.5, 0.5], [0.7, 0.7]])
        >>> arms = dict(drawn_arm_RS=drawn, drawn_baseline_RS=drawn - 0.1, num_rows=9)
        >>> found = estimate(np.array([0.6, 0.7]), np.array([0.5, 0.5]), **arms)
        >>> round(found.difference, 3), round(found.variance.standard_error, 3)
        (0.15, 0.05)
    """
    if len({len(arm_S), len(baseline_S)} - {1}) > 1:
        raise ValueError(
            f"paired arms must have the same seeds; found {len(arm_S)} and {len(baseline_S)}"
        )
    difference_S = arm_S - baseline_S
    drawn_RS = drawn_arm_RS - drawn_baseline_RS
    num = len(difference_S)
    rows = float(drawn_RS.mean(1).var(ddof=1))
    if num == 1:
        return Estimate((float(difference_S[0]),), Variance(0.0, rows, 0.0, 1, num_rows))
    one_seed = float(drawn_RS.var(0, ddof=1).mean())
    variance = Variance(
        seeds=float(difference_S.var(ddof=1)) / num,
        rows=rows,
        interaction=min(max(one_seed - rows, 0.0) / (num - 1), rows),
        num_seeds=num,
        num_rows=num_rows,
    )
    return Estimate(tuple(map(float, difference_S)), variance)


@dataclass(frozen=True)
class Adjusted:
    """Result of Holm's method for one comparison.

    Attributes:
        p_value: Adjusted p-value.
        confidence: Level at which the interval excludes 0 if and only if the adjusted p-value is
            below the level of the test.
    """

    p_value: float
    confidence: float


def holm(p_values: Sequence[float], *, alpha: float) -> list[Adjusted]:
    """Adjust p-values for the number of comparisons (Holm 1979).

    The k-th smallest of m p-values is tested at `alpha / (m - k + 1)`. From the first comparison
    that is not significant, all have the level of that comparison.

    Args:
        p_values: p-value of each comparison.
        alpha: Probability of one or more false findings among all comparisons.

    Example:
        >>> [round(one.p_value, 3) for one in holm([0.01, 0.04, 0.03], alpha=0.05)]
        [0.03, 0.06, 0.06]
    """
    found: dict[int, Adjusted] = {}
    highest, level = 0.0, alpha
    stopped = False
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        num_left = len(p_values) - rank
        highest = max(highest, min(1.0, p_values[index] * num_left))
        if not stopped:
            level = alpha / num_left
            stopped = highest > alpha
        found[index] = Adjusted(highest, 1 - level)
    return [found[index] for index in range(len(p_values))]
