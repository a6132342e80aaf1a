"""Effect of each option of a sweep on the score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from candelabra.bundle.stored import is_text_of_number
from candelabra.report.sweep_trials import DEFAULT, Trial


@dataclass(frozen=True)
class Effect:
    """Scores of the finished trials by the value of one option.

    Attributes:
        key: The option.
        scores: Scores by value. Numbers are sorted, other values are in order of occurrence.
    """

    key: str
    scores: Mapping[str, Sequence[float]]

    @property
    def means(self) -> dict[str, float]:
        """Return the mean score of each value."""
        return {value: statistics.fmean(scores) for value, scores in self.scores.items()}

    @property
    def best(self) -> str:
        """Return the value with the highest mean."""
        return max(self.means, key=self.means.__getitem__)

    @property
    def range(self) -> float:
        """Return the distance between the highest and the lowest mean."""
        return max(self.means.values()) - min(self.means.values())

    @property
    def explained(self) -> float | None:
        """Return the fraction of the variance that the value explains (eta squared).

        `None` if no value has two trials, as with rates drawn at random: it would always be 1.
        """
        every = [score for scores in self.scores.values() for score in scores]
        if len(every) == len(self.scores):
            return None
        centre = statistics.fmean(every)
        total = math.fsum((score - centre) ** 2 for score in every)
        between = math.fsum(
            len(self.scores[value]) * (mean - centre) ** 2 for value, mean in self.means.items()
        )
        return between / total if total > 0 else 0.0

    @property
    def numbers(self) -> bool:
        """Return whether all values are numbers."""
        return all(map(is_text_of_number, self.scores))


def effects_of(trials: Sequence[Trial], keys: Sequence[str], metric: str) -> list[Effect]:
    """Return the effect of each option, the option that explains the most variance first.

    Options of which no value has two trials come last.

    Args:
        trials: Trials of the sweep. Those without the metric are ignored.
        keys: The options.
        metric: Metric that ranks the trials.

    Returns:
        Effects of the options that have two or more values among the trials with the metric.
    """
    found = [_effect(trials, key, metric) for key in keys]
    several = [effect for effect in found if len(effect.scores) > 1]
    return sorted(
        several,
        key=lambda effect: -1.0 if effect.explained is None else effect.explained,
        reverse=True,
    )


def _effect(trials: Sequence[Trial], key: str, metric: str) -> Effect:
    scores: dict[str, list[float]] = {}
    for trial in trials:
        if metric in trial.metrics:
            value = trial.options.get(key, DEFAULT)
            scores.setdefault(value, []).append(trial.metrics[metric])
    if all(map(is_text_of_number, scores)):
        scores = dict(sorted(scores.items(), key=lambda item: float(item[0])))
    return Effect(key, scores)
