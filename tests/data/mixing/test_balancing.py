from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.mixing.balancing import (
    annealed,
    capped,
    equal,
    gap_driven,
    proportional,
    ratios,
    split_batch,
    temperature,
)
from candelabra.records import TrainingProgress

SIZES = {"imdb": 25_000, "movie": 6_816}
NOW = TrainingProgress()
LAST = 2**52


def at(fraction: float) -> TrainingProgress:
    """Return the position of a run of which this fraction is done."""
    return TrainingProgress(round(fraction * LAST), total_steps=LAST + 1)


names = st.text("abcdefgh", min_size=1, max_size=4)
sizes_of_tasks = st.dictionaries(names, st.integers(1, 10**9), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("alpha", "shares"), [(1.0, (0.786, 0.214)), (0.5, (0.657, 0.343)), (0.3, (0.596, 0.404))]
)
def test_published_values(alpha: float, shares: tuple[float, float]) -> None:
    found = temperature(SIZES, NOW, alpha=alpha)
    assert list(found) == list(SIZES)
    assert tuple(round(share, 3) for share in found.values()) == shares


@given(sizes_of_tasks, st.floats(0, 3), st.none() | st.integers(1, 10**6))
def test_shares_sum_to_one_and_follow_size(
    sizes: dict[str, int], alpha: float, cap: int | None
) -> None:
    shares = temperature(sizes, NOW, alpha=alpha, cap=cap)
    assert math.fsum(shares.values()) == pytest.approx(1)
    by_size = sorted(sizes, key=lambda task: sizes[task])
    for smaller, larger in pairwise(by_size):
        assert 0 < shares[smaller] <= shares[larger]


@given(sizes_of_tasks)
def test_the_two_ends_of_temperature(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    assert proportional(sizes, NOW) == pytest.approx({t: n / total for t, n in sizes.items()})
    assert equal(sizes, NOW) == pytest.approx(dict.fromkeys(sizes, 1 / len(sizes)))


@given(sizes_of_tasks, st.integers(1, 100), st.floats(0, 3))
def test_only_the_ratio_of_sizes_counts(sizes: dict[str, int], factor: int, alpha: float) -> None:
    many = {task: size * factor for task, size in sizes.items()}
    assert temperature(many, NOW, alpha=alpha) == pytest.approx(
        temperature(sizes, NOW, alpha=alpha)
    )


def test_capped_sets_count_alike() -> None:
    shares = temperature({"a": 10**7, "b": 500, "c": 250}, NOW, alpha=1.0, cap=500)
    assert shares == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})


def test_a_large_exponent_does_not_overflow() -> None:
    assert temperature({"a": 10**9, "b": 1}, NOW, alpha=200.0)["a"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ({}, {}, "at least one task, got none"),
        ({"imdb": 5, "movie": 0}, {}, "'movie' must have training examples, got 0"),
        (SIZES, {"alpha": -0.1}, r"alpha must be 0 or more, got -0\.1"),
        (SIZES, {"alpha": float("nan")}, "got nan"),
        (SIZES, {"alpha": "half"}, "got 'half'"),
        (SIZES, {"cap": 0}, r"cap must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_named(
    sizes: dict[str, int], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        temperature(sizes, NOW, **settings)


@pytest.mark.parametrize(("progress", "alpha"), [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)])
def test_annealing_moves_the_exponent_in_a_line(progress: float, alpha: float) -> None:
    expected = pytest.approx(temperature(SIZES, NOW, alpha=alpha))
    assert annealed(SIZES, at(progress)) == expected


@pytest.mark.parametrize("epoch", [1, 2, 7, 13, 24, 25])
def test_annealing_meets_the_published_epochs(epoch: int) -> None:
    """PALs: in epoch e of E a task gets n^a, with a = 1 - 0.8 (e - 1) / (E - 1)."""
    passed = (epoch - 1) / (25 - 1)
    powers = {task: size ** (1 - 0.8 * passed) for task, size in SIZES.items()}
    expected = {task: power / sum(powers.values()) for task, power in powers.items()}
    assert annealed(SIZES, at(passed)) == pytest.approx(expected)


@given(sizes_of_tasks, st.floats(0, 2), st.floats(0, 2), st.floats(0, 1))
def test_annealing_stays_between_its_ends(
    sizes: dict[str, int], start: float, end: float, progress: float
) -> None:
    ends = [annealed(sizes, at(p), start=start, end=end) for p in (0, 1)]
    found = annealed(sizes, at(progress), start=start, end=end)
    assert math.fsum(found.values()) == pytest.approx(1)
    # The largest task's share moves in one direction; those between may rise and fall again.
    largest = max(sizes, key=lambda task: sizes[task])
    low, high = sorted(each[largest] for each in ends)
    assert low - 1e-9 <= found[largest] <= high + 1e-9


def test_annealing_counts_to_a_cap() -> None:
    sizes, progress = {"a": 10**7, "b": 500, "c": 250}, at(1.0)
    expected = temperature(sizes, NOW, alpha=0.3, cap=500)
    assert annealed(sizes, progress, end=0.3, cap=500) == pytest.approx(expected)
    assert expected["a"] == expected["b"]


@pytest.mark.parametrize("key", ["start", "end"])
@pytest.mark.parametrize("wrong", [-0.5, math.inf, math.nan])
def test_a_wrong_end_of_the_line_is_named(key: str, wrong: float) -> None:
    """At any moment, also while the exponent between the ends is still fine."""
    rule = rf"{key} must be 0 or more, got {wrong}"
    with pytest.raises(ValueError, match=rule):
        annealed(SIZES, at(0.5), **{key: wrong})


@given(sizes_of_tasks, st.integers(1, 10**6))
def test_a_cap_limits_what_a_set_counts(sizes: dict[str, int], cap: int) -> None:
    counted = {task: min(size, cap) for task, size in sizes.items()}
    assert capped(sizes, NOW, cap=cap) == pytest.approx(proportional(counted, NOW))


def test_capped_by_hand() -> None:
    assert capped(SIZES, NOW, cap=6_816) == {"imdb": 0.5, "movie": 0.5}
    found = capped(SIZES, NOW, cap=10_000)
    assert {task: round(share, 3) for task, share in found.items()} == {
        "imdb": 0.595,
        "movie": 0.405,
    }
    with pytest.raises(ValueError, match=r"cap must be at least 1, got 0"):
        capped(SIZES, NOW, cap=0)


REFERENCES = {"imdb": 0.9, "movie": 0.7}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, (0.5, 0.5)),
        ({"imdb": 0.8, "movie": 0.4}, (0.25, 0.75)),
        ({"imdb": 0.9, "movie": 0.6}, (1 / 11, 10 / 11)),
        ({"imdb": 0.95, "movie": 0.7}, (0.5, 0.5)),
        ({"imdb": 0.0, "movie": 0.0}, (9 / 16, 7 / 16)),
        ({"imdb": 0.7, "movie": -0.2, "other": 0.1}, (2 / 11, 9 / 11)),
        ({"imdb": 0.2}, (0.5, 0.5)),
    ],
    ids=["before", "gaps", "floor", "both at the floor", "nothing", "unknown", "one unscored"],
)
def test_gaps_by_hand(scores: dict[str, float], expected: tuple[float, float]) -> None:
    found = gap_driven(SIZES, TrainingProgress(scores=scores), references=REFERENCES)
    assert list(found) == list(SIZES)
    assert tuple(found.values()) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=6),
    st.floats(1e-12, 10),
)
def test_more_of_the_task_that_is_farther(marks: list[tuple[float, float]], floor: float) -> None:
    references = {str(task): reference for task, (reference, _) in enumerate(marks)}
    scores = {str(task): score for task, (_, score) in enumerate(marks)}
    sizes = dict.fromkeys(references, 5)
    shares = gap_driven(sizes, TrainingProgress(scores=scores), references=references, floor=floor)
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0
    nearest_first = sorted(sizes, key=lambda task: references[task] - scores[task])
    for near, far in pairwise(nearest_first):
        assert shares[near] <= shares[far] * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"references": {"imdb": 0.9}}, r"references must hold a score for each .*'movie'"),
        ({"references": {}}, r"references must hold .* got \{\}"),
        ({"references": {**REFERENCES, "x": 0.5}}, "and nothing else, got .*'x'"),
        ({"references": 0.9}, "references must hold .* got 0.9"),
        ({"references": {"imdb": math.nan, "movie": 0.7}}, "be finite numbers, got .*nan"),
        ({"references": {"imdb": "high", "movie": 0.7}}, "be finite numbers, got .*'high'"),
        ({"references": REFERENCES, "floor": 0.0}, r"floor must be above 0.*, got 0\.0"),
        ({"references": REFERENCES, "floor": -1.0}, r"floor must be above 0.*, got -1\.0"),
        ({"references": REFERENCES, "floor": math.inf}, "floor must be .* finite, got inf"),
        ({"references": REFERENCES, "floor": "low"}, "floor must be above 0.* got 'low'"),
    ],
)
@pytest.mark.parametrize("scores", [{}, {"imdb": 0.5, "movie": 0.5}])
def test_unusable_references_are_named_before_any_score(
    scores: dict[str, float], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gap_driven(SIZES, TrainingProgress(scores=scores), **settings)


@given(sizes_of_tasks, st.integers(0, 200))
def test_a_batch_is_split_whole(sizes: dict[str, int], extra: int) -> None:
    shares, batch_size = proportional(sizes, NOW), len(sizes) + extra
    counts = split_batch(shares, batch_size)
    assert list(counts) == list(shares)
    assert sum(counts.values()) == batch_size
    assert min(counts.values()) >= 1
    for task, count in counts.items():
        wanted = shares[task] * batch_size
        assert count < wanted + 1 or count == 1
        if min(shares.values()) * batch_size >= 1:
            assert abs(count - wanted) < 1 + 1e-9


@given(sizes_of_tasks, st.integers(0, 200))
def test_a_larger_share_never_gets_fewer(sizes: dict[str, int], extra: int) -> None:
    shares = proportional(sizes, NOW)
    counts = split_batch(shares, len(sizes) + extra)
    ranked = sorted(shares, key=lambda task: shares[task])
    for smaller, larger in pairwise(ranked):
        assert counts[smaller] <= counts[larger] or shares[smaller] == shares[larger]


@pytest.mark.parametrize(
    ("shares", "batch_size", "counts"),
    [
        ({"a": 0.47, "b": 0.33, "c": 0.2}, 10, {"a": 5, "b": 3, "c": 2}),
        ({"a": 0.5, "b": 0.5}, 5, {"a": 3, "b": 2}),
        ({"a": 0.95, "b": 0.03, "c": 0.02}, 16, {"a": 14, "b": 1, "c": 1}),
        ({"a": 1.0, "b": 0.0}, 2, {"a": 1, "b": 1}),
        ({"a": 1.0}, 7, {"a": 7}),
    ],
)
def test_known_splits(shares: dict[str, float], batch_size: int, counts: dict[str, int]) -> None:
    assert split_batch(shares, batch_size) == counts


def test_a_batch_smaller_than_the_tasks_is_refused() -> None:
    rule = r"at least 2, .*\['imdb', 'movie'\], got 1"
    with pytest.raises(ValueError, match=rule):
        split_batch({"imdb": 0.5, "movie": 0.5}, 1)


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": float("nan"), "b": 0.5}]
)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 or more and sum to 1, got"):
        split_batch(shares, 8)


def test_needs_no_heavy_library() -> None:
    code = (
        "import sys, candelabra.data.mixing.balancing; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(sizes_of_tasks, st.floats(0.01, 100))
def test_ratios_ignore_sizes(sizes: dict[str, int], ratio: float) -> None:
    first = next(iter(sizes))
    shares = ratios(sizes, NOW, ratios={first: ratio})
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert all(
        shares[first] == pytest.approx(ratio * share)
        for task, share in shares.items()
        if task != first
    )


@pytest.mark.parametrize(
    "wrong", [{"nope": 1.0}, {"imdb": 0.0}, {"imdb": -1.0}, {"imdb": "many"}, {"imdb": math.nan}, 2]
)
def test_ratios_name_tasks_and_are_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"ratios"):
        ratios(SIZES, NOW, ratios=wrong)
