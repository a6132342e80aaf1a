from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.collate import TokenizedSplit
from candelabra.data.mixing.balancing import RULES, TURNS
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.mixing.steps import alternate, joint
from candelabra.data.module import EvalDataset, MicroStep, StepBatch, StepDataset, StepSampler
from candelabra.data.tokens import TextTokenizer
from candelabra.records import IGNORED, Batch
from helpers.schedules import MADE
from helpers.toys import (
    LABELS,
    Splits,
    encode,
    tagged,
    toy_data,
    toy_module,
    toy_schedule,
    toy_trainer,
)

SCORES = {"mood": 0.75, "who": 0.25}
LAYOUTS = st.tuples(st.integers(1, 9), st.integers(1, 4))
"""Ranks, and micro-batches in a step."""

settings = st.fixed_dictionaries(
    {
        "shares": st.sampled_from(list(MADE)).map(lambda name: MADE[name](list(LABELS))),
        "step": st.sampled_from([joint, alternate]),
        "turns": st.sampled_from(TURNS),
        "epoch": st.sampled_from(RULES),
        "batch_size": st.integers(2, 40),
        "seed": st.integers(0, 99),
        "num_epochs": st.integers(1, 2),
        "steps_per_epoch": st.integers(1, 12),
        "max_tokens": st.dictionaries(st.sampled_from(list(LABELS)), st.integers(32, 400)),
    }
)


@pytest.fixture(scope="module")
def train(toys: Splits) -> dict[str, TokenizedSplit]:
    return {task: splits["train"] for task, splits in toys.items()}


@pytest.fixture(scope="module")
def schedule(toys: Splits) -> Schedule:
    return toy_schedule(toys)


def parts_of_step(
    train: dict[str, TokenizedSplit], schedule: Schedule, step: int, layout: tuple[int, int]
) -> list[StepBatch]:
    """What all ranks see in all micro-batches of a step."""
    world_size, accumulate = layout
    datasets = [
        StepDataset(train, schedule, rank=rank, world_size=world_size, accumulate=accumulate)
        for rank in range(world_size)
    ]
    numbers = range(step * accumulate, (step + 1) * accumulate)
    return [
        dataset[MicroStep(number, SCORES)]
        for dataset, number in itertools.product(datasets, numbers)
    ]


def counted(batch: Batch) -> list[int]:
    """The rows that the loss sees."""
    seen = batch.labels.reshape(len(batch.labels), -1)[:, 0] != IGNORED
    return batch.rows_B[seen].tolist()


@given(settings, LAYOUTS, st.integers(0, 30))
def test_the_parts_make_up_the_global_batch(
    toys: Splits,
    train: dict[str, TokenizedSplit],
    kwargs: dict[str, Any],
    layout: tuple[int, int],
    step: int,
) -> None:
    """Disjoint and complete; every rank and micro-batch carries the same tasks."""
    schedule = toy_schedule(toys, **kwargs)
    parts, whole = parts_of_step(train, schedule, step, layout), schedule.batch(step, SCORES)
    assert whole
    assert {tuple(part) for part in parts} == {tuple(whole)}
    for task, rows in whole.items():
        found = [row for part in parts for row in counted(part[task])]
        assert sorted(found) == sorted(rows)
        units = int(train[task].units[rows].sum())
        assert {part[task].num_units for part in parts} == {units}
        assert sum(int((part[task].targets != IGNORED).sum()) for part in parts) == units
        assert {part[task].num_examples for part in parts} == {len(rows)}
        assert {part[task].num_tokens for part in parts} == {train[task].lengths[rows].sum()}


@given(settings, LAYOUTS, st.integers(0, 30))
def test_the_budget_holds_over_all_parts(
    toys: Splits,
    train: dict[str, TokenizedSplit],
    kwargs: dict[str, Any],
    layout: tuple[int, int],
    step: int,
) -> None:
    """Beside the rows that only keep a rank's head busy."""
    parts = parts_of_step(train, toy_schedule(toys, **kwargs), step, layout)
    for task, budget in kwargs["max_tokens"].items():
        batches = [part[task] for part in parts if task in part and counted(part[task])]
        assert sum(batch.texts[0].ids_BL.numel() for batch in batches) <= budget


@pytest.mark.parametrize("step", [joint, alternate])
@pytest.mark.parametrize("max_tokens", [{}, {"mood": 60}])
def test_the_layout_changes_no_global_batch(
    toys: Splits, train: dict[str, TokenizedSplit], step: Any, max_tokens: dict[str, int]
) -> None:
    """1 process x 32, 2 x 16 and 1 x 8 x 4 accumulated: the same examples in the same steps."""
    given = {"batch_size": 32, "step": step, "max_tokens": max_tokens, "seed": 5}
    seen = []
    for layout in ((1, 1), (2, 1), (1, 4)):
        schedule = toy_schedule(toys, **given)
        seen.append([])
        for number in range(2 * schedule.steps_per_epoch):
            parts = parts_of_step(train, schedule, number, layout)
            sizes = [len(counted(part[task])) for task in parts[0] for part in parts]
            if step is alternate and not max_tokens and sum(sizes) == 32:
                assert set(sizes) == {32 // len(parts)}
            rows = {t: sorted(r for part in parts for r in counted(part[t])) for t in parts[0]}
            units = {task: parts[0][task].num_units for task in parts[0]}
            seen[-1].append((rows, units))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) >= 4


def test_a_rank_without_rows_gets_one_that_does_not_count(
    train: dict[str, TokenizedSplit], schedule: Schedule
) -> None:
    parts = parts_of_step(train, schedule, 0, (8, 1))
    assert all(set(part) == set(train) for part in parts)
    idle = [part["who"] for part in parts if not counted(part["who"])]
    assert len(idle) == 8 - len(schedule.batch(0)["who"])
    assert {len(batch.rows_B) for batch in idle} == {1}
    assert {len(batch.texts[0].ids_BL) for batch in idle} == {1}


def test_a_step_without_a_single_unit_can_be_divided_by(tokenizer: TextTokenizer) -> None:
    gone = encode(tagged([(["\u200b"], [1])]), tokenizer)
    schedule = toy_schedule({"who": {"train": gone}})
    dataset = StepDataset({"who": gone}, schedule, rank=0, world_size=1, accumulate=1)
    assert dataset[MicroStep(0, {})]["who"].num_units == 1


def test_the_sampler_starts_where_the_run_stands() -> None:
    progress = SimpleNamespace(steps_done=0, epoch_scores={})
    sampler = StepSampler(5, accumulate=2, progress=progress)

    def numbers() -> list[int]:
        return [wanted.number for wanted in sampler]

    assert numbers() == list(range(10))
    assert numbers() == list(range(10)), "it keeps no progress of its own"
    for done, expected in ((3, range(6, 10)), (5, range(10, 20)), (14, range(28, 30))):
        progress.steps_done = done
        assert numbers() == list(expected)
    assert len(sampler) == 10


def test_the_sampler_hands_on_the_scores_of_its_epoch() -> None:
    """Those of its start: a validation inside the epoch must not change what workers fetch."""
    progress = SimpleNamespace(steps_done=0, epoch_scores={"mood": 0.5})
    sampler = StepSampler(4, accumulate=1, progress=progress)
    running = iter(sampler)
    first = next(running)
    progress.epoch_scores["mood"] = 0.9
    progress.epoch_scores = {"mood": 0.7}
    assert [wanted.scores for wanted in (first, *running)] == [{"mood": 0.5}] * 4
    assert {wanted.scores["mood"] for wanted in sampler} == {0.7}


@given(settings, st.integers(1, 3), st.data())
def test_a_resumed_run_sees_what_the_unbroken_one_sees(
    toys: Splits,
    train: dict[str, TokenizedSplit],
    kwargs: dict[str, Any],
    accumulate: int,
    data: st.DataObject,
) -> None:
    """At any step, with the scores that were stored: the same rows in the same order."""
    scores = [{}, {"mood": 0.5, "who": 0.2}, {"mood": 0.6, "who": 0.7}]

    def rows(start: int) -> list[dict[str, list[int]]]:
        schedule = toy_schedule(toys, **kwargs)
        dataset = StepDataset(train, schedule, rank=0, world_size=2, accumulate=accumulate)
        size, found = schedule.steps_per_epoch, []
        progress = SimpleNamespace(steps_done=start, epoch_scores={})
        sampler = StepSampler(size, accumulate=accumulate, progress=progress)
        while progress.steps_done < len(scores) * size:
            epoch = progress.steps_done // size
            progress.epoch_scores = scores[epoch]
            batches = [dataset[wanted] for wanted in sampler]
            found += [{t: batch.rows_B.tolist() for t, batch in b.items()} for b in batches]
            progress.steps_done = (epoch + 1) * size
        return found

    unbroken = rows(0)
    start = data.draw(st.integers(0, len(unbroken) // accumulate))
    assert rows(start) == unbroken[start * accumulate :]


@pytest.mark.parametrize("world_size", [1, 2, 3, 40])
def test_evaluation_sees_each_row_once(toys: Splits, world_size: int) -> None:
    splits = {task: each["validation"] for task, each in toys.items()}
    found: dict[str, list[int]] = {task: [] for task in splits}
    for rank in range(world_size):
        dataset = EvalDataset(splits, 7, rank=rank, world_size=world_size)
        assert len(dataset) > 0, "Lightning refuses a rank without a batch"
        for index in range(len(dataset)):
            ((task, batch),) = dataset[index].items()
            assert len(batch.rows_B) <= 7
            assert batch.num_units == max(1, splits[task].units[batch.rows_B.numpy()].sum())
            found[task] += batch.rows_B.tolist()
    for task, rows in found.items():
        assert sorted(rows) == list(range(len(splits[task])))


def test_evaluation_takes_tasks_in_turn_and_the_longest_first(toys: Splits) -> None:
    splits = {task: each["validation"] for task, each in toys.items()}
    dataset = EvalDataset(splits, 10)
    chunks = [next(iter(dataset[index].items())) for index in range(len(dataset))]
    assert [task for task, _ in chunks] == ["mood", "who", "mood", "who", "mood", "who", "mood"]
    for task in splits:
        lengths = [splits[task].lengths[batch.rows_B] for name, batch in chunks if name == task]
        assert (np.diff(np.concatenate(lengths)) <= 0).all()


def equal(one: Batch, other: Batch) -> bool:
    pairs = [(one.labels, other.labels), (one.rows_B, other.rows_B)]
    pairs += [(a.ids_BL, b.ids_BL) for a, b in zip(one.texts, other.texts, strict=True)]
    return one.num_units == other.num_units and all(torch.equal(a, b) for a, b in pairs)


def test_workers_change_nothing(toys: Splits) -> None:
    loaders = []
    for num_workers in (0, 2):
        data, module = toy_data(toys, num_workers=num_workers), toy_module()
        trainer = toy_trainer(accumulate_grad_batches=2)
        trainer.strategy.connect(module)
        data.trainer = trainer
        module.steps_done, module.epoch_scores = 3, SCORES
        loaders.append([data.train_dataloader(), data.val_dataloader(), data.test_dataloader()])
    for alone, helped in zip(*loaders, strict=True):
        pairs = list(zip(alone, helped, strict=True))
        assert pairs
        for one, other in pairs:
            assert list(one) == list(other)
            assert all(equal(one[task], other[task]) for task in one)


def test_a_task_without_a_test_split_is_left_out_there(toys: Splits) -> None:
    del (splits := {task: dict(each) for task, each in toys.items()})["who"]["test"]
    data = toy_data(splits)
    assert list(data.split("test")) == ["mood"]
    assert list(data.split("validation")) == ["mood", "who"]
