from __future__ import annotations

import pickle
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.balancing import equal, proportional, temperature
from candelabra.data.schedule import JointSchedule, ShareFunction, part_of

RULES = ("all_once", "max_size_cycle", "min_size", "steps")
SHARES: list[ShareFunction] = [proportional, equal, partial(temperature, alpha=0.5)]

sizes_of_tasks = st.dictionaries(
    st.sampled_from(["imdb", "movie", "news", "chat"]), st.integers(1, 120), min_size=1
)
settings = st.fixed_dictionaries(
    {
        "shares": st.sampled_from(SHARES),
        "epoch": st.sampled_from(RULES),
        "batch_size": st.integers(4, 40),
        "seed": st.integers(0, 2**31),
    }
)


def make(sizes: dict[str, int], **kwargs: object) -> JointSchedule:
    rng = np.random.default_rng(0)
    lengths = {task: rng.integers(3, 200, size) for task, size in sizes.items()}
    given_steps = 7 if kwargs.get("epoch") == "steps" else None
    given = {"shares": proportional, "epoch": "all_once", "batch_size": 8, "seed": 0}
    return JointSchedule(lengths, **{**given, "steps_per_epoch": given_steps, **kwargs})


def epoch_of(schedule: JointSchedule, epoch: int = 0) -> dict[str, list[list[int]]]:
    """Each task's sub-batches in one epoch."""
    begin = epoch * schedule.steps_per_epoch
    steps = [schedule.batch(begin + step) for step in range(schedule.steps_per_epoch)]
    return {task: [step[task].tolist() for step in steps] for task in schedule.sizes}


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@given(sizes_of_tasks, settings)
def test_sub_batches_sum_to_the_batch(sizes: dict[str, int], kwargs: dict[str, object]) -> None:
    schedule = make(sizes, **kwargs)
    assert sum(schedule.sub_batch.values()) == kwargs["batch_size"]
    for task, batches in epoch_of(schedule).items():
        size = schedule.sub_batch[task]
        assert {len(batch) for batch in batches[:-1]} <= {size}
        assert 1 <= len(batches[-1]) <= size


@given(sizes_of_tasks, settings, st.integers(0, 3))
def test_exposures_are_even_and_as_announced(
    sizes: dict[str, int], kwargs: dict[str, object], epoch: int
) -> None:
    schedule = make(sizes, **kwargs)
    announced = schedule.drawn()
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
def test_all_are_drawn_before_one_is_drawn_again(
    sizes: dict[str, int], kwargs: dict[str, object]
) -> None:
    for task, batches in epoch_of(make(sizes, **kwargs)).items():
        rows = flat(batches)
        for begin in range(0, len(rows), sizes[task]):
            one_pass = rows[begin : begin + sizes[task]]
            assert len(set(one_pass)) == len(one_pass)


@given(sizes_of_tasks, settings)
def test_each_rule_ends_the_epoch(sizes: dict[str, int], kwargs: dict[str, object]) -> None:
    schedules = {rule: make(sizes, **{**kwargs, "epoch": rule}) for rule in RULES}
    drawn = {rule: schedule.drawn() for rule, schedule in schedules.items()}
    largest = max(sizes, key=lambda task: sizes[task])

    def whole(rule: str) -> set[str]:
        return {task for task, each in drawn[rule].items() if each.left_out == 0}

    assert whole("all_once") == set(sizes)
    assert largest in whole("max_size_cycle")
    assert whole("min_size")
    assert all(not each.repeated for each in drawn["min_size"].values())
    assert schedules["steps"].steps_per_epoch == 7
    # No rule goes on after its condition is met: a step less would not do.
    sub_batch = schedules["all_once"].sub_batch
    before = {
        rule: {task for task in sizes if (s.steps_per_epoch - 1) * sub_batch[task] >= sizes[task]}
        for rule, s in schedules.items()
    }
    assert before["all_once"] != set(sizes)
    assert largest not in before["max_size_cycle"]
    assert not before["min_size"]


def test_under_equal_shares_the_smallest_ends_min_size() -> None:
    drawn = make({"imdb": 100, "movie": 30}, shares=equal, epoch="min_size").drawn()
    assert drawn["movie"].left_out == drawn["movie"].repeated == 0
    assert drawn["imdb"].drawn == 32


@given(st.integers(1, 300), st.integers(1, 64))
def test_a_single_task_ends_with_a_short_batch(size: int, batch_size: int) -> None:
    for rule in RULES[:3]:
        schedule = make({"imdb": size}, epoch=rule, batch_size=batch_size)
        batches = epoch_of(schedule)["imdb"]
        assert len(batches) == -(-size // batch_size)
        assert len(batches[-1]) == (size - 1) % batch_size + 1
        assert sorted(flat(batches)) == list(range(size))


@given(sizes_of_tasks, settings, st.data())
def test_a_step_is_a_pure_function(
    sizes: dict[str, int], kwargs: dict[str, object], data: st.DataObject
) -> None:
    one, other = make(sizes, **kwargs), make(sizes, **kwargs)
    steps = data.draw(st.permutations(range(4 * one.steps_per_epoch))).copy()[:20]
    expected = {step: one.batch(step) for step in sorted(steps)}
    for step in steps:
        found = other.batch(step)
        assert list(found) == list(sizes)
        for task, rows in found.items():
            assert np.array_equal(rows, expected[step][task])


def test_epochs_and_seeds_and_tasks_differ() -> None:
    sizes = {"imdb": 50, "movie": 50}
    orders = [
        flat(epoch_of(make(sizes, seed=seed), epoch)[task])
        for seed in (0, 1)
        for epoch in (0, 1, 2)
        for task in sizes
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_another_task_does_not_change_the_order_of_the_first() -> None:
    alone = make({"imdb": 64}, epoch="steps", batch_size=4)
    joined = make({"imdb": 64, "movie": 64}, shares=equal, epoch="steps", batch_size=8)
    assert epoch_of(alone)["imdb"] == epoch_of(joined)["imdb"]


def test_a_copy_in_another_process_gives_the_same_batches() -> None:
    """Workers get the schedule pickled wherever processes are not forked."""
    schedule = make({"imdb": 50, "movie": 20})
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(schedule))
        assert epoch_of(copy, 1) == epoch_of(schedule, 1)


def test_few_orders_are_kept() -> None:
    schedule = make({"imdb": 50, "movie": 20})
    bytes_after = []
    for epoch in range(6):
        epoch_of(schedule, epoch)
        bytes_after.append(len(pickle.dumps(schedule)))
    assert bytes_after[-1] == bytes_after[2]


def test_neighbours_in_length_share_a_batch() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.lognormal(4, 0.7, 5_000).astype(int) + 3
    schedule = JointSchedule(
        {"imdb": lengths}, shares=equal, epoch="all_once", batch_size=16, seed=0
    )

    def padding(batches: list[np.ndarray]) -> float:
        cells = sum(len(rows) * lengths[rows].max() for rows in batches)
        return 1 - sum(lengths[rows].sum() for rows in batches) / cells

    ours = [schedule.batch(step)["imdb"] for step in range(schedule.steps_per_epoch)]
    random = np.array_split(rng.permutation(5_000), len(ours))
    assert padding(random) > 0.4
    assert padding(ours) < 0.1
    # Lengths do not run up or down over the epoch.
    steps = np.arange(len(ours))
    assert abs(np.corrcoef(steps, [lengths[rows].mean() for rows in ours])[0, 1]) < 0.2


def test_repeated_passes_keep_neighbours_together() -> None:
    """A small task beside a large one goes on with fresh permutations, sorted as the first."""
    schedule = make({"imdb": 4_000, "movie": 400}, shares=equal, epoch="all_once", batch_size=32)
    lengths = schedule.lengths["movie"]
    spreads = [np.ptp(lengths[rows]) for rows in epoch_of(schedule)["movie"]]
    assert np.median(spreads) < 0.1 * np.ptp(lengths)


@given(st.integers(1, 70), st.sampled_from([(1, 1), (2, 1), (1, 4), (2, 4), (8, 1), (4, 2)]))
def test_parts_are_disjoint_and_complete(size: int, layout: tuple[int, int]) -> None:
    rows, num_parts = np.random.default_rng(0).permutation(size), layout[0] * layout[1]
    parts = [part_of(rows, index=index, num_parts=num_parts) for index in range(num_parts)]
    assert sorted(np.concatenate(parts)) == sorted(rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epoch": "forever"}, r"balancing\.epoch must be one of .*'all_once'.*, got 'forever'"),
        ({"epoch": "steps", "steps_per_epoch": None}, "needs balancing.steps_per_epoch, got none"),
        ({"steps_per_epoch": 0}, "the steps of an epoch must be 1 or more, got 0"),
        ({"batch_size": 1}, "at least 2"),
    ],
)
def test_unusable_settings_are_named(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make({"imdb": 5, "movie": 5}, **kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_a_limit_shortens_the_epoch(rule: str) -> None:
    schedule = make({"imdb": 50, "movie": 20}, epoch=rule, steps_per_epoch=2)
    assert schedule.steps_per_epoch == 2
    assert schedule.drawn()["imdb"].drawn == 2 * schedule.sub_batch["imdb"]
    assert make({"imdb": 5}, steps_per_epoch=99).steps_per_epoch == 1
