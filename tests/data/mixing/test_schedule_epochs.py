"""Properties of an epoch, over sizes, shares, steps, turns, rules, batch sizes and budgets."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.mixing.balancing import RULES, split_batch
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.mixing.steps import alternate, joint
from helpers.schedules import (
    constant,
    epoch_of,
    flat,
    make,
    scores_of_tasks,
    settings,
    sizes_of_tasks,
)

Settings = dict[str, Any]
Sizes = dict[str, int]


@given(sizes_of_tasks, settings, scores_of_tasks, st.floats(0, 1))
def test_shares_sum_to_one(
    sizes: Sizes, kwargs: Settings, scores: dict[str, float], part: float
) -> None:
    schedule = make(sizes, **kwargs)
    shares = schedule.shares(round(part * schedule.total_steps), scores)
    assert list(shares) == list(sizes)
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0


@given(sizes_of_tasks, settings, scores_of_tasks, st.integers(0, 2))
def test_a_step_holds_what_its_shares_say(
    sizes: Sizes, kwargs: Settings, scores: dict[str, float], epoch: int
) -> None:
    """Less at the end of a task that is seen whole just then, and under a budget; never more."""
    schedule = make(sizes, **kwargs)
    found, begin = epoch_of(schedule, epoch, scores), epoch * schedule.steps_per_epoch
    last = {
        task: max(np.flatnonzero(list(map(len, each))), default=0) for task, each in found.items()
    }
    for position in range(schedule.steps_per_epoch):
        drawn = {task: len(each[position]) for task, each in found.items()}
        if kwargs["step"] is joint:
            counts = split_batch(schedule.shares(begin + position, scores), kwargs["batch_size"])
            assert min(drawn.values()) >= 1
        else:
            (only,) = [task for task, number in drawn.items() if number]
            counts = {task: kwargs["batch_size"] if task == only else 0 for task in drawn}
        for task, number in drawn.items():
            assert number <= counts[task]
            if task not in kwargs["max_tokens"] and position != last[task]:
                assert number == counts[task]


@given(sizes_of_tasks, settings, st.integers(0, 3))
def test_exposures_are_even_and_as_announced(sizes: Sizes, kwargs: Settings, epoch: int) -> None:
    schedule = make(sizes, **kwargs)
    announced = schedule.plan(epoch)
    for task, batches in epoch_of(schedule, epoch).items():
        rows, size = flat(batches), sizes[task]
        exposures = Counter(dict.fromkeys(range(size), 0))
        exposures.update(rows)
        assert len(exposures) == size
        assert max(exposures.values()) - min(exposures.values()) <= 1
        assert announced[task].drawn == len(rows)
        assert announced[task].repeated == sum(max(0, n - 1) for n in exposures.values())
        assert announced[task].left_out == sum(n == 0 for n in exposures.values())


@given(sizes_of_tasks, settings)
def test_all_are_drawn_before_one_is_drawn_again(sizes: Sizes, kwargs: Settings) -> None:
    for task, batches in epoch_of(make(sizes, **kwargs)).items():
        rows = flat(batches)
        for begin in range(0, len(rows), sizes[task]):
            one_pass = rows[begin : begin + sizes[task]]
            assert len(set(one_pass)) == len(one_pass)


@given(sizes_of_tasks, settings)
def test_padded_tokens_stay_in_their_budget(sizes: Sizes, kwargs: Settings) -> None:
    schedule = make(sizes, **kwargs)
    for task, batches in epoch_of(schedule).items():
        for rows in filter(None, batches):
            padded = schedule.lengths[task][rows].max() * len(rows)
            assert padded <= kwargs["max_tokens"].get(task, math.inf)


@given(sizes_of_tasks, settings, constant, st.integers(0, 3))
def test_each_rule_ends_the_epoch(sizes: Sizes, kwargs: Settings, shares: str, epoch: int) -> None:
    """Whatever the step, the turns and the budget, in every epoch; and not a step too late."""
    largest = max(sizes, key=lambda task: sizes[task])

    def ended(schedule: Schedule, rule: str) -> bool:
        whole = {task for task, draws in schedule.plan(epoch).items() if not draws.left_out}
        wanted = {"all_once": set(sizes), "max_size_cycle": {largest}}
        return bool(whole) if rule == "min_size" else wanted[rule] <= whole

    for rule in RULES[:3]:
        given = {**kwargs, "shares": shares, "epoch": rule}
        schedule = make(sizes, **given)
        assert ended(schedule, rule)
        if schedule.steps_per_epoch > 1:
            shorter = schedule.steps_per_epoch - 1
            assert not ended(make(sizes, **given, steps_per_epoch=shorter), rule)
        if rule == "min_size":
            assert not any(draws.repeated for draws in schedule.plan(epoch).values())
    assert make(sizes, **{**kwargs, "epoch": "steps"}).steps_per_epoch == 7


@given(sizes_of_tasks, settings, scores_of_tasks)
def test_every_epoch_has_the_same_number_of_steps(
    sizes: Sizes, kwargs: Settings, scores: dict[str, float]
) -> None:
    """Also where shares move: some task may then not be seen whole, and the plan says so."""
    schedule = make(sizes, **kwargs)
    assert schedule.total_steps == schedule.steps_per_epoch * kwargs["num_epochs"]
    for epoch in range(kwargs["num_epochs"]):
        for draws in schedule.plan(epoch, scores).values():
            assert len(draws.counts) == schedule.steps_per_epoch


@given(sizes_of_tasks, settings, st.lists(scores_of_tasks, min_size=3, max_size=3), st.data())
def test_a_step_is_a_pure_function(
    sizes: Sizes, kwargs: Settings, scores: list[dict[str, float]], data: st.DataObject
) -> None:
    """Of the step and its epoch's scores: in any order, so that a resumed run sees the same."""
    unbroken, resumed = make(sizes, **kwargs), make(sizes, **kwargs)
    size = unbroken.steps_per_epoch
    expected = [unbroken.batch(step, scores[step // size]) for step in range(3 * size)]
    begin = data.draw(st.integers(0, 3 * size - 1))
    jumps = data.draw(st.lists(st.integers(0, 3 * size - 1), max_size=10))
    for step in [*range(begin, min(begin + 20, 3 * size)), *jumps]:
        found = resumed.batch(step, scores[step // size])
        assert list(found) == list(expected[step])
        for task, rows in found.items():
            assert np.array_equal(rows, expected[step][task])


@given(sizes_of_tasks, settings)
def test_an_alternate_epoch_carries_one_task_a_step(sizes: Sizes, kwargs: Settings) -> None:
    schedule = make(sizes, **{**kwargs, "step": alternate})
    steps = [schedule.batch(step) for step in range(schedule.steps_per_epoch)]
    assert {len(step) for step in steps} == {1}
    turns = Counter(task for step in steps for task in step)
    if kwargs["shares"] != "annealed":
        for task, share in schedule.shares().items():
            assert abs(turns[task] - share * len(steps)) < len(sizes)
