from __future__ import annotations

import pytest

from candelabra.study.statistics import Estimate, Variance
from candelabra.study.verdicts import Verdict, remedy_of, verdict_of, words_of

TABLE = {
    (0.006, 0.009): "better, by more than 0.5 points",
    (0.001, 0.009): "better",
    (0.001, 0.004): "better, but by less than 0.5 points",
    (-0.004, 0.004): "no difference that matters",
    (-0.004, 0.006): "undecided",
    (-0.006, 0.001): "undecided",
    (-0.004, -0.001): "worse, but by less than 0.5 points",
    (-0.009, -0.001): "worse",
    (-0.009, -0.006): "worse, by more than 0.5 points",
}


@pytest.mark.parametrize(("interval", "words"), TABLE.items())
def test_words_of_an_interval(interval: tuple[float, float], words: str) -> None:
    assert words_of(verdict_of(*interval, 0.005), 0.005) == words


def test_an_undecided_comparison_says_what_would_decide() -> None:
    spread = Estimate((0.0, 0.008), Variance(8e-6, 1e-6, 0.0, 2, 2000))
    remedy = remedy_of(spread, margin=0.002, confidence=0.95)
    assert remedy.num_seeds is not None
    assert words_of(Verdict.UNDECIDED, 0.002, remedy).startswith("undecided; about ")
    few_rows = Estimate((0.004, 0.004), Variance(0.0, 4e-4, 0.0, 2, 20))
    words = remedy_of(few_rows, margin=0.005, confidence=0.95).words
    assert words == "more test rows would be needed, not more seeds"
