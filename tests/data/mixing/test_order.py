from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from candelabra.data.mixing.order import POOL_STEPS, Draws, draw, num_parts_of_a_pass, part_of

LONGEST = 60

lengths_of_a_task = st.lists(st.integers(1, LONGEST), min_size=1, max_size=80).map(np.array)
one_count = st.tuples(st.integers(1, 30), st.integers(1, 120)).map(
    lambda pair: np.full(pair[1], pair[0])
)
any_counts = st.lists(st.integers(0, 12), min_size=1, max_size=150).map(np.array)
budgets = st.none() | st.integers(LONGEST, 600)


def drawn(lengths: np.ndarray, counts: np.ndarray, budget: int | None, seed: int = 0) -> Draws:
    return draw(lengths, counts, np.random.default_rng(seed), max_tokens=budget)


def steps_of(draws: Draws) -> list[np.ndarray]:
    return [draws.step(position) for position in range(len(draws.bounds) - 1)]


@given(lengths_of_a_task, one_count | any_counts, budgets)
def test_counts_add_up(lengths: np.ndarray, counts: np.ndarray, budget: int | None) -> None:
    draws = drawn(lengths, counts, budget)
    assert draws.counts.tolist() == [len(rows) for rows in steps_of(draws)]
    assert draws.drawn == draws.counts.sum() == sum(map(len, steps_of(draws)))
    assert len(draws.counts) == len(counts)
    # A step that does not ask gets nothing; one that asks gets something, and not more.
    assert (draws.counts <= counts).all()
    assert ((draws.counts > 0) == (counts > 0)).all()


@given(lengths_of_a_task, one_count | any_counts, budgets)
def test_exposures_are_even_and_as_announced(
    lengths: np.ndarray, counts: np.ndarray, budget: int | None
) -> None:
    draws = drawn(lengths, counts, budget)
    exposures = Counter(dict.fromkeys(range(len(lengths)), 0))
    exposures.update(draws.rows.tolist())
    assert len(exposures) == draws.size == len(lengths)
    assert max(exposures.values()) - min(exposures.values()) <= 1
    assert draws.repeated == sum(max(0, times - 1) for times in exposures.values())
    assert draws.left_out == sum(times == 0 for times in exposures.values())


@given(lengths_of_a_task, one_count | any_counts, budgets)
def test_every_pass_is_a_whole_permutation(
    lengths: np.ndarray, counts: np.ndarray, budget: int | None
) -> None:
    """Also under a budget: a pass is complete before the next one begins."""
    rows, size = drawn(lengths, counts, budget).rows.tolist(), len(lengths)
    for begin in range(0, len(rows), size):
        one_pass = rows[begin : begin + size]
        assert len(set(one_pass)) == len(one_pass)


@given(lengths_of_a_task, any_counts)
def test_without_a_budget_a_step_gets_what_it_asks_for(
    lengths: np.ndarray, counts: np.ndarray
) -> None:
    found = drawn(lengths, counts, None)
    present = np.flatnonzero(counts)
    if not len(present):
        assert not found.drawn
        return
    last = present[-1]
    assert (found.counts[:last] == counts[:last]).all()
    # Seen whole exactly in its last step, a task closes the epoch short and repeats nothing.
    before = counts[:last].sum()
    ends_here = before < len(lengths) <= before + counts[last]
    assert found.counts[last] == (len(lengths) - before if ends_here else counts[last])
    assert not (ends_here and (found.repeated or found.left_out))


@given(lengths_of_a_task, one_count | any_counts, st.integers(LONGEST, 600))
def test_the_budget_holds(lengths: np.ndarray, counts: np.ndarray, budget: int) -> None:
    for rows in steps_of(drawn(lengths, counts, budget)):
        assert not len(rows) or lengths[rows].max() * len(rows) <= budget


@given(lengths_of_a_task, st.integers(1, 30), st.integers(LONGEST, 600))
def test_the_budget_is_used(lengths: np.ndarray, count: int, budget: int) -> None:
    """A part ends only where one example more would be too many, or too long."""
    num_parts = num_parts_of_a_pass(lengths, count, budget)
    parts = steps_of(drawn(lengths, np.full(num_parts, count), budget))
    parts.sort(key=lambda rows: (lengths[rows].min(), lengths[rows].max(), -len(rows)))
    assert sorted(np.concatenate(parts)) == list(range(len(lengths)))
    flat = np.sort(lengths)
    done = 0
    for rows in parts[:-1]:
        done += len(rows)
        assert len(rows) == count or (len(rows) + 1) * flat[done] > budget


def test_a_text_longer_than_the_budget_goes_alone() -> None:
    lengths = np.array([50, 2, 3, 2, 70])
    parts = steps_of(drawn(lengths, np.full(3, 4), 12))
    assert sorted(sorted(rows.tolist()) for rows in parts) == [[0], [1, 2, 3], [4]]


@given(lengths_of_a_task, st.integers(1, 30), budgets, st.integers(1, 4))
def test_the_parts_of_a_pass(
    lengths: np.ndarray, count: int, budget: int | None, num_passes: int
) -> None:
    """So many steps see the whole task, not one less; under a budget, in every pass."""
    num_parts = num_parts_of_a_pass(lengths, count, budget)
    whole = drawn(lengths, np.full(num_parts, count), budget)
    assert whole.left_out == whole.repeated == 0
    if num_parts > 1:
        assert drawn(lengths, np.full(num_parts - 1, count), budget).left_out
    if budget is not None:
        many = drawn(lengths, np.full(num_passes * num_parts, count), budget)
        assert many.drawn == num_passes * len(lengths)


@given(lengths_of_a_task, one_count | any_counts, budgets, st.integers(0, 9))
def test_the_order_comes_from_the_generator(
    lengths: np.ndarray, counts: np.ndarray, budget: int | None, seed: int
) -> None:
    one, other = (drawn(lengths, counts, budget, seed) for _ in range(2))
    assert one.rows.tolist() == other.rows.tolist()
    assert one.bounds.tolist() == other.bounds.tolist()


@pytest.mark.parametrize("budget", [None, 400])
def test_seeds_differ(budget: int | None) -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 90)
    orders = {tuple(drawn(lengths, np.full(12, 8), budget, seed).rows) for seed in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize("budget", [None, 16 * 60])
def test_neighbours_in_length_share_a_step(budget: int | None) -> None:
    rng = np.random.default_rng(3)
    lengths = np.minimum(rng.lognormal(4, 0.7, 5_000).astype(int) + 3, 256)
    num_parts = num_parts_of_a_pass(lengths, 16, budget)
    found = drawn(lengths, np.full(num_parts, 16), budget)
    random = np.array_split(rng.permutation(5_000), num_parts)
    bounds = np.concatenate([[0], np.cumsum([len(rows) for rows in random])])
    assert Draws(np.concatenate(random), bounds, 5_000).padding(lengths) > 0.3
    assert found.padding(lengths) < 0.1
    # Lengths do not run up or down over the epoch.
    means = [lengths[rows].mean() for rows in steps_of(found)]
    assert abs(np.corrcoef(np.arange(num_parts), means)[0, 1]) < 0.2


def test_later_passes_keep_neighbours_together() -> None:
    lengths = np.random.default_rng(1).integers(3, 200, 400)
    spreads = [np.ptp(lengths[rows]) for rows in steps_of(drawn(lengths, np.full(250, 16), None))]
    assert np.median(spreads) < 0.1 * np.ptp(lengths)


@given(any_counts, st.integers(1, 400))
def test_a_pool_keeps_its_steps(counts: np.ndarray, size: int) -> None:
    """Sorting moves rows inside pools of steps only: the pools stay a random draw."""
    assume(counts.any())
    plain = drawn(np.ones(size, dtype=int), counts, None)
    mixed = drawn(np.random.default_rng(5).integers(1, 99, size), counts, None)
    assert plain.bounds.tolist() == mixed.bounds.tolist()
    present = np.flatnonzero(plain.counts)[:POOL_STEPS]
    inside = [step for step in present if plain.bounds[step + 1] <= size]
    if len(inside):
        end = plain.bounds[inside[-1] + 1]
        assert sorted(plain.rows[:end]) == sorted(mixed.rows[:end])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 6))
def test_padding_by_brute_force(lengths: list[int], num_parts: int) -> None:
    draws = drawn(np.array(lengths), np.array([7, 0, 5]), None)
    tokens = cells = 0
    for rows in steps_of(draws):
        for index in range(num_parts):
            part = [lengths[row] for row in rows[index::num_parts]]
            tokens += sum(part)
            cells += max(part, default=0) * len(part)
    assert draws.padding(np.array(lengths), num_parts) == pytest.approx(1 - tokens / cells)


def test_nothing_drawn_has_no_padding() -> None:
    draws = drawn(np.array([3, 4]), np.zeros(5, dtype=int), None)
    assert (draws.drawn, draws.repeated, draws.left_out) == (0, 0, 2)
    assert draws.padding(np.array([3, 4])) == 0


@given(st.integers(1, 70), st.sampled_from([(1, 1), (2, 1), (1, 4), (2, 4), (8, 1), (4, 2)]))
def test_parts_are_disjoint_and_complete(size: int, layout: tuple[int, int]) -> None:
    rows, num_parts = np.random.default_rng(0).permutation(size), layout[0] * layout[1]
    parts = [part_of(rows, index=index, num_parts=num_parts) for index in range(num_parts)]
    assert sorted(np.concatenate(parts)) == sorted(rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(lengths_of_a_task, one_count | any_counts)
def test_a_random_order_has_the_same_rows_in_each_pass(
    lengths: np.ndarray, counts: np.ndarray
) -> None:
    sorted_draws = drawn(lengths, counts, None)
    draws = draw(lengths, counts, np.random.default_rng(0), order="random")
    assert draws.bounds.tolist() == sorted_draws.bounds.tolist()
    size = len(lengths)
    for begin in range(0, draws.drawn - size + 1, size):
        assert sorted(draws.rows[begin : begin + size].tolist()) == list(range(size))


def test_a_random_order_pays_no_regard_to_length() -> None:
    lengths = np.random.default_rng(1).integers(1, LONGEST, 1600)
    draws = draw(lengths, np.full(100, 16), np.random.default_rng(0), order="random")
    # 16 uniform numbers up to M have a mean of M/2 and a largest one of 16/17 M.
    assert draws.padding(lengths) == pytest.approx(1 - 17 / 32, abs=0.03)
