"""What a schedule does with known sizes; `test_schedule_epochs.py` has the properties of any."""

from __future__ import annotations

import pickle
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.mixing.balancing import (
    RULES,
    TURNS,
    annealed,
    equal,
    ratios,
    temperature,
)
from candelabra.data.mixing.schedule import MOST_STEPS
from candelabra.data.mixing.steps import alternate, joint
from candelabra.records import TrainingProgress
from helpers.schedules import epoch_of, flat, make

SIZES = {"imdb": 100, "movie": 30}
STEPS = [joint, alternate]


def test_downsampling_takes_a_fresh_subset_each_epoch() -> None:
    schedule = make(SIZES, shares="equal", epoch="min_size")
    subsets = []
    for epoch in range(3):
        drawn = schedule.plan(epoch)
        assert drawn["movie"].left_out == drawn["movie"].repeated == 0
        assert (drawn["imdb"].drawn, drawn["imdb"].left_out) == (32, 68)
        subsets.append(frozenset(drawn["imdb"].rows.tolist()))
        assert len(subsets[-1]) == 32
    assert len(set(subsets)) == 3


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("max_tokens", [{}, {"movie": 600}])
def test_upsampling_repeats_whole_permutations(
    step: Any, turns: str, max_tokens: dict[str, int]
) -> None:
    schedule = make(SIZES, shares="equal", step=step, turns=turns, max_tokens=max_tokens)
    for epoch in range(3):
        found = epoch_of(schedule, epoch)
        assert sorted(flat(found["imdb"])) == list(range(100))
        rows = flat(found["movie"])
        assert len(rows) > 30
        passes = [rows[begin : begin + 30] for begin in range(0, len(rows), 30)]
        assert all(sorted(each) == list(range(30)) for each in passes[:-1])
        assert len({tuple(each) for each in passes}) == len(passes), "each has an order of its own"


@given(st.integers(1, 300), st.integers(1, 64), st.sampled_from(STEPS), st.sampled_from(RULES[:3]))
def test_a_single_task_ends_with_a_short_batch(
    size: int, batch_size: int, step: Any, rule: str
) -> None:
    batches = epoch_of(make({"imdb": size}, epoch=rule, step=step, batch_size=batch_size))["imdb"]
    assert len(batches) == -(-size // batch_size)
    assert len(batches[-1]) == (size - 1) % batch_size + 1
    assert sorted(flat(batches)) == list(range(size))


@pytest.mark.parametrize("step", STEPS)
def test_epochs_and_seeds_and_tasks_differ(step: Any) -> None:
    sizes = {"imdb": 50, "movie": 50}
    orders = [
        flat(epoch_of(make(sizes, step=step, seed=seed), epoch)[task])
        for seed in (0, 1)
        for epoch in (0, 1, 2)
        for task in sizes
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_drawn_turns_differ_from_epoch_to_epoch_and_cycled_ones_do_not() -> None:
    for turns, number in (("drawn", 5), ("cycled", 1)):
        schedule = make(SIZES, step=alternate, turns=turns)
        epochs = [tuple(schedule.plan(epoch)["movie"].counts > 0) for epoch in range(5)]
        assert len(set(epochs)) == number


def test_another_task_does_not_change_the_order_of_the_first() -> None:
    alone = make({"imdb": 64}, epoch="steps", batch_size=4)
    joined = make({"imdb": 64, "movie": 64}, shares="equal", epoch="steps", batch_size=8)
    assert epoch_of(alone)["imdb"] == epoch_of(joined)["imdb"]


@pytest.mark.parametrize("step", STEPS)
def test_a_copy_in_another_process_gives_the_same_batches(step: Any) -> None:
    """Workers get the schedule pickled wherever processes are not forked."""
    schedule = make(SIZES, step=step, shares="gap_driven", max_tokens={"imdb": 400})
    scores = {"imdb": 0.5, "movie": 0.75}
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(schedule))
        assert epoch_of(copy, 1, scores) == epoch_of(schedule, 1, scores)


def test_few_plans_are_kept() -> None:
    schedule = make({"imdb": 50, "movie": 20}, shares="gap_driven")
    bytes_after = []
    for epoch in range(6):
        epoch_of(schedule, epoch, {"imdb": epoch / 10, "movie": 0.5})
        bytes_after.append(len(pickle.dumps(schedule)))
    assert max(bytes_after[2:]) < 1.2 * bytes_after[1]


def test_annealing_runs_from_the_first_step_to_the_last() -> None:
    """By the part of the run that is done, over all its epochs: PALs' line, step by step."""
    schedule = make({"imdb": 900, "movie": 100}, shares="annealed", batch_size=20, num_epochs=3)
    last = schedule.total_steps - 1
    assert last == 3 * 50 - 1
    for step in (0, 1, 74, last):
        expected = temperature(schedule.sizes, TrainingProgress(), alpha=1 - 0.8 * step / last)
        assert schedule.shares(step) == pytest.approx(expected)
    movies = [schedule.batch(step)["movie"].size for step in (0, 60, 100, last)]
    assert movies == sorted(movies)
    # 9 to 1 to the power of 0.2: a share of 0.392.
    assert (movies[0], movies[-1]) == (2, 8)
    # Beyond the end, as after more epochs on resume, nothing moves any further.
    assert schedule.shares(last + 500) == schedule.shares(last)


def test_a_run_of_one_step_anneals_nothing() -> None:
    """The published code divides by zero here."""
    schedule = make(SIZES, shares="annealed", epoch="steps", steps_per_epoch=1)
    assert schedule.total_steps == 1
    assert schedule.shares(0) == annealed(schedule.sizes, TrainingProgress())


def test_scores_move_the_shares_of_a_whole_epoch() -> None:
    sizes = {"imdb": 80, "movie": 80}
    schedule = make(sizes, shares="gap_driven", batch_size=20, num_epochs=2)
    begin, scores = schedule.steps_per_epoch, {"imdb": 0.7, "movie": 0.4}
    assert {task: len(rows) for task, rows in schedule.batch(0).items()} == {
        "imdb": 10,
        "movie": 10,
    }
    for step in (begin, begin + 1):
        found = {task: len(rows) for task, rows in schedule.batch(step, scores).items()}
        assert found == {"imdb": 4, "movie": 16}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"epoch": "forever"},
            r"epoch must be one of all_once, .*, steps, got 'forever'",
        ),
        ({"turns": "random"}, r"turns must be one of drawn, cycled, got 'random'"),
        ({"epoch": "steps", "steps_per_epoch": None}, "needs steps_per_epoch, got none"),
        ({"steps_per_epoch": 0}, r"steps_per_epoch must be 1 or more, got 0"),
        ({"batch_size": 1}, "at least 2"),
        ({"shares": partial(ratios, ratios={"x": 2})}, r"ratios must name tasks .* got \['x'\]"),
        ({"shares": partial(annealed, end=-1.0)}, r"end must be 0 or more"),
    ],
)
def test_unusable_settings_are_named(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make({"imdb": 5, "movie": 5}, **kwargs)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", RULES)
def test_a_limit_shortens_the_epoch(rule: str, step: Any) -> None:
    schedule = make({"imdb": 50, "movie": 20}, epoch=rule, step=step, steps_per_epoch=2)
    assert schedule.steps_per_epoch == 2
    assert sum(draws.drawn for draws in schedule.plan(0).values()) == 16
    assert make({"imdb": 5}, step=step, steps_per_epoch=99).steps_per_epoch == 1
    assert make({"imdb": 5}, step=step, steps_per_epoch=10**12).steps_per_epoch == 1


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("share", [1e-8, 1e-300])
def test_a_share_of_next_to_nothing_is_said_at_once(size: int, share: float) -> None:
    """Its turn would come after millions of steps; nobody should wait for them to be counted."""
    given = {"shares": partial(ratios, ratios={"movie": share}), "step": alternate}
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=r"within 1,000,000 steps.*give steps_per_epoch"):
        make({"imdb": 100, "movie": size}, **given)
    with pytest.raises(ValueError, match="within 1,000,000 steps"):
        make({"imdb": 100, "movie": size}, **given, steps_per_epoch=MOST_STEPS + 1)
    assert make({"imdb": 100, "movie": size}, **given, steps_per_epoch=50).steps_per_epoch == 50
    # The other rules do not wait for it, nor does a step that carries every task.
    for rule in ("max_size_cycle", "min_size") if size == 1 else ("min_size",):
        assert make({"imdb": 100, "movie": size}, **given, epoch=rule).steps_per_epoch == 13
    steps = make({"imdb": 100, "movie": size}, **{**given, "step": joint}).steps_per_epoch
    assert steps == max(15, size)
    assert time.perf_counter() - begin < 5


def test_a_small_share_gets_the_long_epoch_that_it_asks_for() -> None:
    """Found by leaps, and the same as by counting."""
    shares = partial(ratios, ratios={"movie": 0.002})
    schedule = make({"imdb": 8, "movie": 30}, shares=shares, step=alternate, turns="cycled")
    turns = np.flatnonzero(schedule.plan(0)["movie"].counts)
    assert len(turns) == 4
    assert turns[-1] == schedule.steps_per_epoch - 1
    assert schedule.steps_per_epoch == pytest.approx(3.5 / schedule.shares()["movie"], rel=0.01)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", RULES)
def test_tasks_of_one_example(step: Any, rule: str) -> None:
    sizes = {"imdb": 1, "movie": 1, "news": 300}
    schedule = make(sizes, shares="equal", epoch=rule, step=step, max_tokens={"movie": 400})
    found = epoch_of(schedule)
    assert all(set(flat(found[task])) <= {0} for task in ("imdb", "movie"))
    if rule == "min_size":
        assert schedule.steps_per_epoch == 1
    else:
        assert all(flat(found[task]) for task in sizes)


@pytest.mark.parametrize("shares", ["proportional", "equal", "annealed"])
def test_a_batch_of_as_many_examples_as_tasks(shares: str) -> None:
    schedule = make({"imdb": 40, "movie": 7, "news": 3}, shares=shares, batch_size=3)
    assert schedule.steps_per_epoch == 40
    for batches in epoch_of(schedule).values():
        assert [len(rows) for rows in batches] == [1] * 40


def test_one_example_a_step_in_turn() -> None:
    schedule = make(
        {"imdb": 4, "movie": 2}, step=alternate, turns="cycled", batch_size=1, shares=equal
    )
    tasks = [list(schedule.batch(step)) for step in range(schedule.steps_per_epoch)]
    assert tasks == [["imdb"], ["movie"]] * 3 + [["imdb"]]
