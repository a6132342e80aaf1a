"""Verdicts on a difference, from its interval and the smallest difference that matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from candelabra.report.formats import in_points
from candelabra.study.power import MOST_ROWS, MOST_SEEDS, seeds_to_decide
from candelabra.study.statistics import Estimate


class Verdict(StrEnum):
    """Kind of a verdict, as in `study.json`."""

    BETTER_BY_MORE = "better by more than the margin"
    BETTER = "better"
    BETTER_BY_LESS = "better by less than the margin"
    NO_DIFFERENCE = "no difference that matters"
    UNDECIDED = "undecided"
    WORSE_BY_LESS = "worse by less than the margin"
    WORSE = "worse"
    WORSE_BY_MORE = "worse by more than the margin"
    NOT_JUDGED = "not judged"


TOLERABLE = frozenset(
    {
        Verdict.BETTER_BY_MORE,
        Verdict.BETTER,
        Verdict.BETTER_BY_LESS,
        Verdict.NO_DIFFERENCE,
        Verdict.WORSE_BY_LESS,
    }
)
"""Verdicts that exclude a loss of more than the margin."""
BETTER = frozenset({Verdict.BETTER_BY_MORE, Verdict.BETTER, Verdict.BETTER_BY_LESS})
WORSE = frozenset({Verdict.WORSE_BY_MORE, Verdict.WORSE})
"""Verdicts of a loss that may be larger than the margin."""
OPEN = frozenset({Verdict.UNDECIDED, Verdict.NOT_JUDGED})


def verdict_of(low: float, high: float, margin: float) -> Verdict:
    """Return the verdict on an interval.

    Args:
        low: Lower end of the interval of the difference.
        high: Upper end.
        margin: Smallest difference that matters, above 0.

    Example:
        >>> str(verdict_of(0.001, 0.004, 0.005))
        'better by less than the margin'
    """
    if low > 0:
        if low > margin:
            return Verdict.BETTER_BY_MORE
        return Verdict.BETTER_BY_LESS if high < margin else Verdict.BETTER
    if high < 0:
        if high < -margin:
            return Verdict.WORSE_BY_MORE
        return Verdict.WORSE_BY_LESS if low > -margin else Verdict.WORSE
    return Verdict.NO_DIFFERENCE if -margin < low and high < margin else Verdict.UNDECIDED


@dataclass(frozen=True)
class Remedy:
    """Size of a study that would decide an undecided comparison in four of five cases.

    Attributes:
        num_seeds: Number of seeds; `None` if even the largest size considered would not decide.
        num_rows: Number of test rows; `None` if those of the study are enough.
    """

    num_seeds: int | None
    num_rows: int | None = None

    @property
    def words(self) -> str:
        """Return the remedy in words."""
        if self.num_seeds is None:
            return (
                f"even {MOST_SEEDS} seeds on {MOST_ROWS} times as many test rows would not decide"
            )
        if self.num_rows is None:
            return f"about {self.num_seeds} seeds would decide"
        return f"about {self.num_seeds} seeds on {self.num_rows:,} test rows would decide"


def remedy_of(estimate: Estimate, *, margin: float, confidence: float) -> Remedy:
    """Return the study size that would decide, if the estimated difference is the true one.

    The test rows are doubled until at most `MOST_SEEDS` seeds decide.

    Args:
        estimate: Estimate of an undecided comparison.
        margin: Smallest difference that matters.
        confidence: Level of its interval.
    """
    variance, factor = estimate.variance, 1
    while factor <= MOST_ROWS:
        num_rows = factor * variance.num_rows
        num_seeds = seeds_to_decide(
            estimate.difference,
            variance.with_rows(num_rows),
            margin=margin,
            confidence=confidence,
        )
        if num_seeds is not None:
            return Remedy(num_seeds, None if factor == 1 else num_rows)
        factor *= 2
    return Remedy(None)


def words_of(verdict: Verdict, margin: float, remedy: Remedy | None = None) -> str:
    """Return a verdict in words, with the margin in points (hundredths).

    Args:
        verdict: The verdict.
        margin: Smallest difference that matters.
        remedy: Study size that would decide an undecided comparison.

    Example:
        >>> words_of(Verdict.WORSE_BY_MORE, 0.005)
        'worse, by more than 0.5 points'
    """
    points = in_points(margin)
    direction = verdict.partition(" ")[0]
    if "more than" in verdict or "less than" in verdict:
        joint = "by more than" if "more than" in verdict else "but by less than"
        return f"{direction}, {joint} {points}"
    if verdict is Verdict.UNDECIDED and remedy is not None:
        return f"undecided; {remedy.words}"
    return str(verdict)
