"""The LightningDataModule: the schedule's steps for training, chunks of a task for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from candelabra.data.collate import TokenizedSplit
from candelabra.data.schedule import JointSchedule, part_of
from candelabra.records import Batch

StepBatch = dict[str, Batch]


class StepDataset(Dataset[StepBatch]):
    """Item `k` is one rank's part of micro-batch `k`, counted over the whole run."""

    def __init__(
        self,
        splits: Mapping[str, TokenizedSplit],
        schedule: JointSchedule,
        *,
        rank: int,
        world_size: int,
        accumulate: int,
    ) -> None:
        self.splits = dict(splits)
        self.schedule = schedule
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate

    def __getitem__(self, micro_step: int) -> StepBatch:
        step, micro = divmod(micro_step, self.accumulate)
        index, num_parts = micro * self.world_size + self.rank, self.world_size * self.accumulate
        return {
            task: self._sub_batch(task, rows, part_of(rows, index=index, num_parts=num_parts))
            for task, rows in self.schedule.batch(step).items()
        }

    def _sub_batch(self, task: str, rows: np.ndarray, part: np.ndarray) -> Batch:
        split = self.splits[task]
        # All words of a step may have been cut: then its loss is 0, whatever divides it.
        num_units = max(1, int(split.units[rows].sum()))
        # A short last sub-batch may not reach every rank; an uncounted row keeps its head in step.
        if len(part) == 0:
            return split.batch(rows[:1], num_units=num_units, num_examples=len(rows), counted=False)
        return split.batch(part, num_units=num_units, num_examples=len(rows))


class StepSampler(Sampler[int]):
    """The micro-batches still to come in the present epoch.

    It keeps no progress of its own: workers run ahead, and a DataLoader may start it twice.

    Args:
        steps_per_epoch: Optimizer steps in an epoch.
        accumulate: Micro-batches in an optimizer step.
        steps_done: Tells the optimizer steps done in the whole run.
    """

    def __init__(
        self, steps_per_epoch: int, *, accumulate: int, steps_done: Callable[[], int]
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.accumulate = accumulate
        self.steps_done = steps_done

    def __iter__(self) -> Iterator[int]:
        done = self.steps_done()
        end = (done // self.steps_per_epoch + 1) * self.steps_per_epoch
        yield from range(done * self.accumulate, end * self.accumulate)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.accumulate


class EvalDataset(Dataset[StepBatch]):
    """Item `k` is a chunk of neighbours in length of one task; ranks take every n-th chunk."""

    def __init__(
        self,
        splits: Mapping[str, TokenizedSplit],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.splits = dict(splits)
        by_task = [
            [(task, rows) for rows in _chunks(split, batch_size)]
            for task, split in self.splits.items()
        ]
        # Tasks in turn, so that `trainer.limit_val_batches` leaves some of each.
        turns = zip_longest(*by_task)
        self.chunks = [chunk for turn in turns for chunk in turn if chunk][rank::world_size]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> StepBatch:
        task, rows = self.chunks[index]
        split = self.splits[task]
        return {task: split.batch(rows, num_units=max(1, int(split.units[rows].sum())))}


def _chunks(split: TokenizedSplit, size: int) -> Iterator[np.ndarray]:
    """Longest first, so that a batch too large for the memory shows at once."""
    rows = np.argsort(-split.lengths, kind="stable")
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


class MultiTaskDataModule(pl.LightningDataModule):
    """All tasks' splits behind three loaders.

    Args:
        splits: For each task its splits `train`, `validation` and, where there is one, `test`.
        schedule: Which training examples make up which step.
        eval_batch_size: Examples in a batch of validation and test.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
    """

    def __init__(
        self,
        splits: Mapping[str, Mapping[str, TokenizedSplit]],
        *,
        schedule: JointSchedule | None = None,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.splits = splits
        self.schedule = schedule
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[StepBatch]:
        """Micro-batches of the schedule, from where the run stands."""
        assert self.trainer is not None
        assert self.schedule is not None
        accumulate = self.trainer.accumulate_grad_batches
        dataset = StepDataset(
            self.split("train"),
            self.schedule,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            accumulate=accumulate,
        )
        module = self.trainer.lightning_module
        sampler = StepSampler(
            self.schedule.steps_per_epoch,
            accumulate=accumulate,
            steps_done=lambda: int(module.steps_done),  # type: ignore[arg-type]
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[StepBatch]:
        """Every task's validation split."""
        return self._eval_loader("validation")

    def test_dataloader(self) -> DataLoader[StepBatch]:
        """The test split of every task that has one."""
        return self._eval_loader("test")

    def split(self, name: str) -> dict[str, TokenizedSplit]:
        """`train`, `validation` or `test` of the tasks that have it."""
        return {task: splits[name] for task, splits in self.splits.items() if name in splits}

    def _eval_loader(self, name: str) -> DataLoader[StepBatch]:
        assert self.trainer is not None
        dataset = EvalDataset(
            self.split(name),
            self.eval_batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(dataset, None)

    def _loader(
        self, dataset: Dataset[StepBatch], sampler: Sampler[int] | None
    ) -> DataLoader[StepBatch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=None,  # an item is a whole batch already
            sampler=sampler,
            num_workers=self.num_workers,
            pin_memory=on_gpu,
        )
