from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.balancing import (
    Moment,
    equal,
    proportional,
    ratios,
    split_batch,
    temperature,
)

SIZES = {"imdb": 25_000, "movie": 6_816}
NOW = Moment()

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
        ({}, {}, "at least one task; found none"),
        ({"imdb": 5, "movie": 0}, {}, "'movie' must have training examples; found 0"),
        (SIZES, {"alpha": -0.1}, r"balancing\.alpha must be 0 or more; found -0\.1"),
        (SIZES, {"alpha": float("nan")}, "found nan"),
        (SIZES, {"cap": 0}, r"balancing\.cap must be at least 1; found 0"),
    ],
)
def test_bad_settings_are_named(
    sizes: dict[str, int], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        temperature(sizes, NOW, **settings)


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
    rule = r"at least 2, .*\['imdb', 'movie'\]; found 1"
    with pytest.raises(ValueError, match=rule):
        split_batch({"imdb": 0.5, "movie": 0.5}, 1)


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": float("nan"), "b": 0.5}]
)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 or more and sum to 1; found"):
        split_batch(shares, 8)


def test_needs_no_heavy_library() -> None:
    code = (
        "import sys, candelabra.data.balancing; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
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


@pytest.mark.parametrize("wrong", [{"nope": 1.0}, {"imdb": 0.0}, {"imdb": -1.0}])
def test_ratios_name_tasks_and_are_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"balancing\.shares\.ratios"):
        ratios(SIZES, NOW, ratios=wrong)
