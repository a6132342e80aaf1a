"""LightningDataModule of all tasks: scheduled steps for training, batches for evaluation."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Sampler

from candelabra.data.collate import TokenizedSplit, longest_first
from candelabra.data.mixing.order import part_of
from candelabra.data.mixing.schedule import Schedule
from candelabra.records import Batch

StepBatch = dict[str, Batch]


class MicroStep(NamedTuple):
    """Key of an item of `StepDataset`, which depends on nothing else.

    Attributes:
        number: Number of micro-batches before it in the run.
        scores: Main metric of each task at the start of its epoch.
    """

    number: int
    scores: Mapping[str, float]


class StepDataset(Dataset[StepBatch]):
    """The part of each micro-batch that one rank processes.

    An item maps each task of the step to its batch.

    Args:
        splits: Train split of each task.
        schedule: Examples of every step.
        rank: Index of this process.
        world_size: Number of processes.
        accumulate: Number of micro-batches in an optimizer step.
    """

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

    def __getitem__(self, key: MicroStep) -> StepBatch:
        step, micro = divmod(key.number, self.accumulate)
        index, num_parts = micro * self.world_size + self.rank, self.world_size * self.accumulate
        return {
            task: self._sub_batch(task, rows, part_of(rows, index=index, num_parts=num_parts), step)
            for task, rows in self.schedule.batch(step, key.scores).items()
        }

    def _sub_batch(self, task: str, rows: np.ndarray, part: np.ndarray, step: int) -> Batch:
        # A short last batch may leave a rank without examples. A row with masked labels lets the
        # rank take part in the forward and backward pass, which all ranks must run.
        if len(part) == 0:
            return self.splits[task].batch(rows[:1], of=rows, counted=False, step=step)
        return self.splits[task].batch(part, of=rows, step=step)


class TrainingState(Protocol):
    """State of the training that the sampler reads.

    Attributes:
        steps_done: Number of finished optimizer steps of the run.
        epoch_scores: Main metric of each task at the start of the epoch.
    """

    steps_done: int
    epoch_scores: dict[str, float]


class StepSampler(Sampler[MicroStep]):
    """Sampler of the remaining micro-batches of the current epoch.

    It has no state of its own, because workers prefetch and a DataLoader may create its iterator
    twice.

    Args:
        steps_per_epoch: Number of optimizer steps in an epoch.
        accumulate: Number of micro-batches in an optimizer step.
        progress: State of the training.
    """

    def __init__(self, steps_per_epoch: int, *, accumulate: int, progress: TrainingState) -> None:
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
    """Evaluation batches; each contains examples of one task with similar lengths.

    Every rank has every n-th batch.

    Args:
        splits: The evaluated split of each task.
        batch_size: Maximum number of examples in a batch.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        splits: Mapping[str, TokenizedSplit],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.splits = dict(splits)
        # Every rank needs a batch: a rank without one would block the others.
        batch_size = max(1, min(batch_size, sum(map(len, splits.values())) // world_size))
        chunks = [
            (task, rows)
            for task, split in self.splits.items()
            for rows in longest_first(split.lengths, batch_size)
        ][rank::world_size]
        # Tasks are interleaved, so that `trainer.limit_val_batches` keeps batches of each of them.
        turns = zip_longest(*([c for c in chunks if c[0] == task] for task in self.splits))
        self.chunks = [chunk for turn in turns for chunk in turn if chunk]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> StepBatch:
        task, rows = self.chunks[index]
        return {task: self.splits[task].batch(rows)}


class MultiTaskDataModule(pl.LightningDataModule):
    """Train, validation and test loaders over the splits of all tasks.

    Args:
        splits: Splits of each task: `train`, `validation` and optionally `test`.
        schedule: Training examples of every step; needed for training only.
        eval_batch_size: Number of examples in a validation or test batch.
        num_workers: Number of worker processes that prepare batches; 0 prepares them in the
            training process.
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
        """Return the loader of the remaining training micro-batches of the epoch."""
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
            progress=cast(TrainingState, self.trainer.lightning_module),
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[StepBatch]:
        """Return the loader over the validation split of every task."""
        return self._eval_loader("validation")

    def test_dataloader(self) -> DataLoader[StepBatch]:
        """Return the loader over the test split of every task that has one."""
        return self._eval_loader("test")

    def split(self, name: str) -> dict[str, TokenizedSplit]:
        """Return one split of every task that has it.

        Args:
            name: `train`, `validation` or `test`.
        """
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
            batch_size=None,  # each item of the dataset is a batch
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=_leave_ctrl_c_to_the_parent,
            pin_memory=on_gpu,
        )


def _leave_ctrl_c_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C in a data worker.

    A terminal sends the signal to all processes, and the training process still needs the batches
    of its workers to stop in an orderly way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
