"""The LightningDataModule: the schedule's steps for training, chunks of a task for evaluation."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from candelabra.data.collate import TokenizedSplit
from candelabra.data.order import part_of
from candelabra.data.schedule import Schedule
from candelabra.records import Batch

StepBatch = dict[str, Batch]


class MicroStep(NamedTuple):
    """What the sampler hands to the dataset: all that an item is a function of.

    Attributes:
        number: Micro-batches before it in the whole run.
        scores: The tasks' main metrics where its epoch began.
    """

    number: int
    scores: Mapping[str, float]


class StepDataset(Dataset[StepBatch]):
    """One rank's part of each micro-batch; a task that the step leaves out is left out."""

    def __init__(
        self,
        splits: Mapping[str, TokenizedSplit],
        schedule: Schedule,
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

    def __getitem__(self, wanted: MicroStep) -> StepBatch:
        step, micro = divmod(wanted.number, self.accumulate)
        index, num_parts = micro * self.world_size + self.rank, self.world_size * self.accumulate
        return {
            task: self._sub_batch(task, rows, part_of(rows, index=index, num_parts=num_parts))
            for task, rows in self.schedule.batch(step, wanted.scores).items()
        }

    def _sub_batch(self, task: str, rows: np.ndarray, part: np.ndarray) -> Batch:
        # A short last sub-batch may not reach every rank; an uncounted row keeps its head in step.
        if len(part) == 0:
            return self.splits[task].batch(rows[:1], of=rows, counted=False)
        return self.splits[task].batch(part, of=rows)


class Progress(Protocol):
    """Who knows where the training stands."""

    steps_done: int
    epoch_scores: dict[str, float]


class StepSampler(Sampler[MicroStep]):
    """The micro-batches still to come in the present epoch.

    It keeps no progress of its own: workers run ahead, and a DataLoader may start it twice.

    Args:
        steps_per_epoch: Optimizer steps in an epoch.
        accumulate: Micro-batches in an optimizer step.
        progress: Tells the optimizer steps done in the whole run, and the epoch's scores.
    """

    def __init__(self, steps_per_epoch: int, *, accumulate: int, progress: Progress) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.accumulate = accumulate
        self.progress = progress

    def __iter__(self) -> Iterator[MicroStep]:
        done, scores = self.progress.steps_done, dict(self.progress.epoch_scores)
        end = (done // self.steps_per_epoch + 1) * self.steps_per_epoch
        for number in range(done * self.accumulate, end * self.accumulate):
            yield MicroStep(number, scores)

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
        # Every rank needs a chunk: one without would leave the others waiting.
        batch_size = max(1, min(batch_size, sum(map(len, splits.values())) // world_size))
        chunks = [
            (task, rows)
            for task, split in self.splits.items()
            for rows in _chunks(split, batch_size)
        ][rank::world_size]
        # Tasks in turn, so that `trainer.limit_val_batches` leaves some of each.
        turns = zip_longest(*([c for c in chunks if c[0] == task] for task in self.splits))
        self.chunks = [chunk for turn in turns for chunk in turn if chunk]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> StepBatch:
        task, rows = self.chunks[index]
        return {task: self.splits[task].batch(rows)}


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
        schedule: Schedule | None = None,
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
        sampler = StepSampler(
            self.schedule.steps_per_epoch,
            accumulate=accumulate,
            progress=cast(Progress, self.trainer.lightning_module),
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
        self, dataset: Dataset[StepBatch], sampler: Sampler[Any] | None
    ) -> DataLoader[StepBatch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=None,  # an item is a whole batch already
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=_leave_ctrl_c_to_the_parent,
            pin_memory=on_gpu,
        )


def _leave_ctrl_c_to_the_parent(worker: int) -> None:
    """A terminal sends it to workers too; the training process still wants its last batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
