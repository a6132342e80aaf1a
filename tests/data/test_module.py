from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from candelabra.data.collate import TokenizedSplit
from candelabra.data.module import EvalDataset, StepBatch, StepDataset, StepSampler
from candelabra.data.schedule import JointSchedule
from candelabra.data.tokens import TextTokenizer
from candelabra.records import IGNORED, Batch
from toys import Splits, encode, tagged, toy_data, toy_module, toy_schedule, toy_trainer

LAYOUTS = [(1, 1), (2, 1), (1, 4), (2, 2), (8, 1), (3, 2)]
layouts = pytest.mark.parametrize(("world_size", "accumulate"), LAYOUTS)


@pytest.fixture
def train(toys: Splits) -> dict[str, TokenizedSplit]:
    return {task: splits["train"] for task, splits in toys.items()}


@pytest.fixture
def schedule(toys: Splits) -> JointSchedule:
    return toy_schedule(toys)


def parts_of_step(
    train: dict[str, TokenizedSplit], schedule: JointSchedule, step: int, layout: tuple[int, int]
) -> list[StepBatch]:
    """What all ranks see in all micro-batches of a step."""
    world_size, accumulate = layout
    datasets = [
        StepDataset(train, schedule, rank=rank, world_size=world_size, accumulate=accumulate)
        for rank in range(world_size)
    ]
    micro_steps = range(step * accumulate, (step + 1) * accumulate)
    return [dataset[micro] for dataset, micro in itertools.product(datasets, micro_steps)]


def counted(batch: Batch) -> list[int]:
    """The rows that the loss sees."""
    seen = batch.labels.reshape(len(batch.labels), -1)[:, 0] != IGNORED
    return batch.rows_B[seen].tolist()


@layouts
def test_the_parts_make_up_the_global_batch(
    world_size: int,
    accumulate: int,
    train: dict[str, TokenizedSplit],
    schedule: JointSchedule,
) -> None:
    for step in range(2 * schedule.steps_per_epoch):
        parts = parts_of_step(train, schedule, step, (world_size, accumulate))
        for task, rows in schedule.batch(step).items():
            found = [row for part in parts for row in counted(part[task])]
            assert sorted(found) == sorted(rows)
            units = int(train[task].units[rows].sum())
            assert {part[task].num_units for part in parts} == {units}
            assert sum(int((part[task].targets != IGNORED).sum()) for part in parts) == units


def test_a_rank_without_rows_gets_one_that_does_not_count(
    train: dict[str, TokenizedSplit], schedule: JointSchedule
) -> None:
    parts = parts_of_step(train, schedule, 0, (8, 1))
    assert all(set(part) == set(train) for part in parts)
    idle = [part["who"] for part in parts if not counted(part["who"])]
    assert len(idle) == 8 - schedule.sub_batch["who"]
    assert {len(batch.rows_B) for batch in idle} == {1}
    assert {len(batch.texts[0].ids_BL) for batch in idle} == {1}


def test_a_step_without_a_single_unit_can_be_divided_by(tokenizer: TextTokenizer) -> None:
    gone = encode(tagged([(["\u200b"], [1])]), tokenizer)
    schedule = toy_schedule({"who": {"train": gone}})
    dataset = StepDataset({"who": gone}, schedule, rank=0, world_size=1, accumulate=1)
    assert dataset[0]["who"].num_units == 1


def test_the_sampler_starts_where_the_run_stands() -> None:
    done = 0
    sampler = StepSampler(5, accumulate=2, steps_done=lambda: done)
    assert list(sampler) == list(range(10))
    assert list(sampler) == list(range(10)), "it keeps no progress of its own"
    done = 3
    assert list(sampler) == list(range(6, 10))
    done = 5
    assert list(sampler) == list(range(10, 20))
    done = 14
    assert list(sampler) == [28, 29]
    assert len(sampler) == 10


@pytest.mark.parametrize("world_size", [1, 2, 3, 40])
def test_evaluation_sees_each_row_once(toys: Splits, world_size: int) -> None:
    splits = {task: each["validation"] for task, each in toys.items()}
    found: dict[str, list[int]] = {task: [] for task in splits}
    for rank in range(world_size):
        dataset = EvalDataset(splits, 7, rank=rank, world_size=world_size)
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
        module.steps_done = 3
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
