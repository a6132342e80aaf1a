"""Draws: disjoint, complete, in proportion, repeatable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from candelabra.data.rows.splits import carve, strata_of
from candelabra.records import IGNORED, Examples

STRATA = st.lists(st.sampled_from("aaaabbc") | st.text(max_size=2), min_size=1, max_size=200)


@given(STRATA, st.data(), st.integers(0, 2**64))
def test_parts_are_sorted_disjoint_complete_and_of_the_size(
    strata: list[str], data: st.DataObject, seed: int
) -> None:
    size = data.draw(st.integers(0, len(strata)))
    rest, drawn = carve(strata, size, seed)
    assert len(drawn) == size
    assert sorted(rest + drawn) == list(range(len(strata)))
    assert rest == sorted(rest)
    assert drawn == sorted(drawn)


@given(STRATA, st.data(), st.integers(0, 100))
def test_each_stratum_is_within_one_row_of_its_proportion(
    strata: list[str], data: st.DataObject, seed: int
) -> None:
    size = data.draw(st.integers(0, len(strata)))
    _, drawn = carve(strata, size, seed)
    got = Counter(strata[row] for row in drawn)
    for stratum, rows in Counter(strata).items():
        assert abs(got[stratum] - rows * size / len(strata)) < 1


def test_counts_per_stratum_agree_with_sklearn() -> None:
    strata = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    _, drawn = carve(strata, 100, 0)
    _, expected = train_test_split(range(1000), test_size=100, stratify=strata, random_state=0)
    assert Counter(strata[i] for i in drawn) == Counter(strata[i] for i in expected)


@given(STRATA, st.integers(0, 100))
def test_same_seed_same_draw(strata: list[str], seed: int) -> None:
    assert carve(strata, len(strata) // 2, seed) == carve(strata, len(strata) // 2, seed)


def test_other_seed_other_draw() -> None:
    draws = {tuple(carve(["a"] * 100, 10, seed)[1]) for seed in range(20)}
    assert len(draws) == 20


def test_the_draw_never_changes() -> None:
    """Runs of different versions are compared on the same rows."""
    assert carve(list("aabbaabbcc"), 4, 42)[1] == [0, 1, 7, 9]


@pytest.mark.parametrize("strata", ["aaa", "abc"])
def test_rows_of_a_stratum_and_equal_strata_have_equal_chances(strata: str) -> None:
    drawn = Counter(row for seed in range(3000) for row in carve(strata, 1, seed)[1])
    assert all(abs(drawn[row] / 3000 - 1 / 3) < 0.05 for row in range(3))


@pytest.mark.parametrize("size", [-1, 4])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(ValueError, match=f"size must be 0 to 3 .* found {size}"):
        carve("abc", size, 0)


def test_stratum_of_a_text_is_its_label() -> None:
    examples = Examples((["x", "y", "z"],), [1, 0, IGNORED], None, [0, 1, 2])
    assert strata_of(examples, ["neg", "pos"]) == ["pos", "neg", ""]


def test_stratum_of_words_is_the_type_that_fewest_rows_have() -> None:
    labels = ["O", "B-Year", "B-Genre", "I-Genre", "I-Year"]
    tags = [[0, 2, 3], [1, 4, 2], [1, 0, 2], [0], [2]]
    examples = Examples(([""] * 5,), tags, [[]] * 5, list(range(5)))
    assert strata_of(examples, labels) == ["Genre", "Year", "Year", "O", "Genre"]


def test_stratum_of_several_labels_is_the_one_that_fewest_rows_have() -> None:
    held = [[1, 0, 0], [1, 1, IGNORED], [0, 0, 0], [1, 0, 1]]
    examples = Examples(([""] * 4,), held, None, list(range(4)))
    assert strata_of(examples, ["x", "y", "z"]) == ["x", "y", "O", "z"]


def test_numbers_are_one_stratum() -> None:
    examples = Examples((["a", "b"],), [1.5, -100.0], None, [0, 1])
    assert strata_of(examples, []) == ["", ""]
