"""Studies with a known truth: rows of some difficulty, seeds with an effect, Bernoulli answers.

The log odds of a right answer are those of the arm, plus a difficulty of the row, an effect of the
arm on the row, and an effect of the seed on the arm.

Shapes: S seeds, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candelabra.evaluation.bootstrap import Score, accuracy, bootstrap_scores, f1
from candelabra.study.statistics import Estimate, estimate

DIFFICULTY, ARM_BY_ROW, SEED = 2.5, 0.6, 0.08
BASE = 4.0
SPURIOUS = 0.7
"""Predicted spans without a right counterpart, for each span that is not found."""
SCORES: dict[str, Score] = {"accuracy": accuracy, "f1": f1}


@dataclass(frozen=True)
class Population:
    """What studies are drawn from; `gain` is the effect of the arm in log odds."""

    score: Score
    gain: float = 0.0

    def draw(
        self, num_seeds: int, num_rows: int, generator: np.random.Generator
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The items of each seed of the baseline, and of the arm."""
        difficulty_N = generator.normal(0, DIFFICULTY, num_rows)
        gold_N = 1 + generator.poisson(0.8, num_rows)

        def arm(level: float) -> list[np.ndarray]:
            own_N = difficulty_N + generator.normal(0, ARM_BY_ROW, num_rows)
            logits_SN = level + own_N + generator.normal(0, SEED, (num_seeds, 1))
            return [self._items(1 / (1 + np.exp(-row)), gold_N, generator) for row in logits_SN]

        return arm(BASE), arm(BASE + self.gain)

    def _items(
        self, chance_N: np.ndarray, gold_N: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        if self.score is accuracy:
            return (generator.random(len(chance_N)) < chance_N).astype(float)[:, None]
        right_N = generator.binomial(gold_N, chance_N)
        wrong_N = generator.binomial(gold_N, (1 - chance_N) * SPURIOUS)
        return np.stack([right_N, right_N + wrong_N, gold_N], 1).astype(float)

    def truth(self) -> float:
        """The difference of the arms over all seeds and rows."""
        spread = np.sqrt(DIFFICULTY**2 + ARM_BY_ROW**2 + SEED**2)  # of a sum of normal effects
        logits = spread * np.random.default_rng(0).normal(size=1_000_000)
        first, other = (
            float((1 / (1 + np.exp(-(BASE + gain + logits)))).mean()) for gain in (0.0, self.gain)
        )
        if self.score is accuracy:
            return other - first
        found = [2 * p / (1 + p + SPURIOUS * (1 - p)) for p in (first, other)]
        return found[1] - found[0]


def estimated(
    population: Population, num_seeds: int, num_rows: int, study: int, *, resamples: int
) -> Estimate:
    """The estimate of one study."""
    generator = np.random.default_rng([num_seeds, num_rows, study])
    baseline, arm = population.draw(num_seeds, num_rows, generator)
    models = [*arm, *baseline]
    drawn = bootstrap_scores(population.score, models, resamples=resamples, seed=[study, 1])
    ones = np.ones((1, num_rows))
    values = np.array([population.score(items, ones)[0] for items in models])
    return estimate(
        values[:num_seeds],
        values[num_seeds:],
        drawn_arm_RS=drawn[:, :num_seeds],
        drawn_baseline_RS=drawn[:, num_seeds:],
        num_rows=num_rows,
    )


def population_of(score: Score, difference: float) -> Population:
    """The population whose arms truly differ by this much."""
    low, high = 0.0, 3.0
    for _ in range(25):
        middle = (low + high) / 2
        above = Population(score, middle).truth() >= difference
        low, high = (low, middle) if above else (middle, high)
    return Population(score, low if difference else 0.0)
