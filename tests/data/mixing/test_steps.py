from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.mixing.balancing import TURNS, annealed, split_batch
from candelabra.data.mixing.order import POOL_STEPS
from candelabra.data.mixing.steps import alternate, joint
from candelabra.records import TrainingProgress

NAMES = ["imdb", "movie", "news", "chat", "stsb"]

weights_of_tasks = st.lists(st.floats(0.001, 1), min_size=1, max_size=5)
shares_of_tasks = weights_of_tasks.map(
    lambda weights: {
        task: weight / sum(weights) for task, weight in zip(NAMES, weights, strict=False)
    }
)


@st.composite
def moving_shares(draw: st.DrawFn) -> list[dict[str, float]]:
    """Shares of up to 350 steps, constant or moving in a line from some to others."""
    num_tasks, num_steps = draw(st.integers(1, 5)), draw(st.integers(1, 350))
    weights = st.lists(st.floats(0.001, 1), min_size=num_tasks, max_size=num_tasks)
    first = draw(weights)
    last = draw(st.just(first) | weights)
    moved = np.linspace(np.array(first) / sum(first), np.array(last) / sum(last), num_steps)
    return [dict(zip(NAMES, row, strict=False)) for row in moved.tolist()]


def turns_of(
    shares_S: list[dict[str, float]], turns: str, *, batch_size: int = 8, seed: int = 0
) -> np.ndarray:
    """Which task each step of `alternate` carries: its place among the tasks."""
    counts = alternate(shares_S, batch_size, turns=turns, rng=np.random.default_rng(seed))
    assert list(counts) == list(shares_S[0])
    table = np.array(list(counts.values()))
    assert (np.sort(table, axis=0)[:-1] == 0).all(), "one task a step"
    assert (table.max(axis=0) == batch_size).all()
    return table.argmax(axis=0)


def behind(shares_S: list[dict[str, float]], turn_S: np.ndarray) -> np.ndarray:
    """How many steps each task is behind its share, after each number of steps."""
    owed = np.cumsum([list(shares.values()) for shares in shares_S], axis=0)
    had = np.cumsum(turn_S[:, None] == np.arange(len(shares_S[0])), axis=0)
    return owed - had


@given(moving_shares(), st.integers(5, 40))
def test_a_joint_step_is_the_split_of_the_batch(
    shares_S: list[dict[str, float]], batch_size: int
) -> None:
    counts = joint(shares_S, batch_size)
    for step, shares in enumerate(shares_S):
        found = {task: int(counts[task][step]) for task in counts}
        assert found == split_batch(shares, batch_size)
        assert min(found.values()) >= 1
        assert sum(found.values()) == batch_size


@pytest.mark.parametrize("turns", TURNS)
def test_turns_are_nothing_to_a_joint_step(turns: str) -> None:
    shares_S = [{"imdb": 0.7, "movie": 0.3}] * 5
    counts = joint(shares_S, 16, turns=turns, rng=np.random.default_rng(1))
    assert {task: each.tolist() for task, each in counts.items()} == {
        "imdb": [11] * 5,
        "movie": [5] * 5,
    }


@given(moving_shares())
def test_cycled_turns_keep_every_task_near_its_share(shares_S: list[dict[str, float]]) -> None:
    """After any number of steps a task is less than one of them ahead, and K - 1 at most behind."""
    lag = behind(shares_S, turns_of(shares_S, "cycled"))
    assert lag.min() > -1
    assert lag.max() < len(shares_S[0])


@given(moving_shares(), st.integers(0, 9))
def test_drawn_turns_keep_every_task_near_its_share(
    shares_S: list[dict[str, float]], seed: int
) -> None:
    lag = behind(shares_S, turns_of(shares_S, "drawn", seed=seed))
    assert np.abs(lag).max() < POOL_STEPS + len(shares_S[0])
    for end in range(POOL_STEPS, len(shares_S) + 1, POOL_STEPS):
        assert lag[end - 1].min() > -1
        assert lag[end - 1].max() < len(shares_S[0])


@given(moving_shares(), st.integers(0, 9))
def test_drawn_turns_are_the_cycled_ones_shuffled(
    shares_S: list[dict[str, float]], seed: int
) -> None:
    cycled, drawn = (turns_of(shares_S, turns, seed=seed) for turns in ("cycled", "drawn"))
    for start in range(0, len(cycled), POOL_STEPS):
        pool = slice(start, start + POOL_STEPS)
        assert Counter(cycled[pool].tolist()) == Counter(drawn[pool].tolist())


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
def test_equal_shares_in_turn_are_round_robin(num_tasks: int) -> None:
    shares = dict.fromkeys(NAMES[:num_tasks], 1 / num_tasks)
    found = turns_of([shares] * 1_000, "cycled")
    assert found.tolist() == [step % num_tasks for step in range(1_000)]


@given(shares_of_tasks, st.integers(1, 300))
def test_cycled_turns_need_no_luck(shares: dict[str, float], num_steps: int) -> None:
    """They are the same for every epoch, and the first of a longer epoch are those of a shorter."""
    found = [turns_of([shares] * num_steps, "cycled", seed=seed).tolist() for seed in (0, 1)]
    assert found[0] == found[1]
    assert turns_of([shares] * (num_steps + 50), "cycled")[:num_steps].tolist() == found[0]


def test_drawn_turns_follow_the_generator() -> None:
    shares_S = [{"imdb": 0.6, "movie": 0.4}] * 200
    orders = [turns_of(shares_S, "drawn", seed=seed).tolist() for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    # Within a pool they are a shuffle: a task comes twice in a row, and is left out for long.
    assert any(a == b == 1 for a, b in zip(orders[0], orders[0][1:], strict=False))


@pytest.mark.parametrize("turns", TURNS)
def test_annealed_shares_move_the_turns(turns: str) -> None:
    shares = partial(annealed, {"imdb": 9_000, "movie": 1_000})
    shares_S = [shares(TrainingProgress(step, total_steps=1_000)) for step in range(1_000)]
    found = turns_of(shares_S, turns)
    tenths = found.reshape(10, 100).sum(axis=1)
    expected = [sum(each["movie"] for each in shares_S[i : i + 100]) for i in range(0, 1_000, 100)]
    assert np.abs(tenths - expected).max() <= 2
    assert tenths[0] <= 14
    assert tenths[-1] >= 35


@pytest.mark.parametrize("wrong", ["random", "", "Cycled"])
def test_unknown_turns_are_named(wrong: str) -> None:
    rule = rf"turns must be one of drawn, cycled, got '{wrong}'"
    with pytest.raises(ValueError, match=rule):
        alternate([{"imdb": 1.0}], 8, turns=wrong, rng=np.random.default_rng(0))


def test_a_joint_step_has_room_for_every_task_and_an_alternate_one_needs_none() -> None:
    shares_S = [{"imdb": 0.5, "movie": 0.5}]
    with pytest.raises(ValueError, match="at least 2, one example for each of the tasks"):
        joint(shares_S, 1)
    assert turns_of(shares_S * 4, "cycled", batch_size=1).tolist() == [0, 1, 0, 1]
