from __future__ import annotations

import pytest

from candelabra.study.power import seeds_to_decide
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


def test_an_undecided_comparison_names_the_seeds_that_would_decide() -> None:
    spread = Estimate((0.0, 0.008), Variance(8e-6, 1e-6, 0.0, 2, 2000))
    remedy = remedy_of(spread, margin=0.002, confidence=0.95)
    assert remedy.num_seeds is not None
    assert words_of(Verdict.UNDECIDED, 0.002, remedy).startswith("undecided; about ")


def test_too_few_rows_ask_for_a_number_of_rows_that_would_decide() -> None:
    variance = Variance(1e-6, 1e-4, 0.0, 2, 20)
    estimate = Estimate((0.004, 0.004), variance)
    remedy = remedy_of(estimate, margin=0.005, confidence=0.95)
    assert remedy.num_seeds is not None
    assert remedy.num_rows is not None

    def num_seeds(num_rows: int) -> int | None:
        expected = variance.with_rows(num_rows)
        return seeds_to_decide(0.004, expected, margin=0.005, confidence=0.95)

    assert num_seeds(remedy.num_rows) == remedy.num_seeds
    assert num_seeds(remedy.num_rows // 2) is None
    assert remedy.words.endswith(f" seeds on {remedy.num_rows:,} test rows would decide")


def test_a_difference_out_of_reach_proposes_no_size() -> None:
    hopeless = Estimate((0.004, 0.004), Variance(1.0, 1.0, 0.0, 2, 20))
    words = remedy_of(hopeless, margin=0.005, confidence=0.95).words
    assert words == "even 200 seeds on 64 times as many test rows would not decide"
