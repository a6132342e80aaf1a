"""Which examples make up which step: a pure function of (sizes, shares, seed, epoch, step).

A joint step carries every task. Each task has a fixed sub-batch size: the largest-remainder split
of `batch_size` by the shares, at least 1. **An epoch** ends by one of four rules:

- `all_once`: when every task has been seen whole; the others go on with a fresh permutation.
- `max_size_cycle`: when the largest task has been seen whole.
- `min_size`: when the first task has been seen whole; of the others a fresh subset is seen.
- `steps`: after `steps_per_epoch` steps.

A task that is seen whole exactly at the end of the epoch closes it with a short sub-batch and
repeats nothing. Within an epoch no example is drawn a second time before all were drawn once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from candelabra.data.balancing import Moment, split_batch

ShareFunction = Callable[[Mapping[str, int], Moment], dict[str, float]]

POOL_BATCHES = 100
"""Batches are cut from pools of this many: neighbours in length inside, random order outside."""


@dataclass(frozen=True)
class Drawn:
    """What one epoch does with one task's examples."""

    drawn: int
    repeated: int
    left_out: int


class JointSchedule:
    """Every step carries every task.

    Args:
        lengths: For each task the token count of each training example.
        shares: Sizes -> how much of a step each task gets.
        epoch: The rule that ends an epoch (see the module).
        batch_size: Examples per optimizer step over all tasks, ranks and micro-batches.
        seed: The run's seed.
        steps_per_epoch: For the rule `steps` the length of an epoch; for the others an upper limit.

    Raises:
        ValueError: An unknown rule, `steps` without a number, an epoch without a step, or more
            tasks than `batch_size`.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        *,
        shares: ShareFunction,
        epoch: str,
        batch_size: int,
        seed: int,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.lengths = dict(lengths)
        self.sizes = {task: len(array) for task, array in self.lengths.items()}
        self.shares = shares(self.sizes, Moment())
        self.sub_batch = split_batch(self.shares, batch_size)
        self.seed = seed
        self.steps_per_epoch = self._steps(epoch, steps_per_epoch)
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def _steps(self, rule: str, limit: int | None) -> int:
        passes = {task: -(-size // self.sub_batch[task]) for task, size in self.sizes.items()}
        largest = max(self.sizes, key=self.sizes.__getitem__)
        rules = {
            "all_once": max(passes.values()),
            "max_size_cycle": passes[largest],
            "min_size": min(passes.values()),
            "steps": limit,
        }
        if rule not in rules:
            raise ValueError(f"balancing.epoch must be one of {list(rules)}, got {rule!r}")
        steps = rules[rule]
        if steps is None:
            raise ValueError("balancing.epoch=steps needs balancing.steps_per_epoch, got none")
        steps = steps if limit is None else min(steps, limit)
        if steps < 1:
            raise ValueError(f"the steps of an epoch must be 1 or more, got {steps}")
        return steps

    def drawn(self) -> dict[str, Drawn]:
        """How much of each task one epoch draws, repeats and leaves out."""
        counts = {task: self._draws(task) for task in self.sizes}
        return {
            task: Drawn(count, max(0, count - self.sizes[task]), max(0, self.sizes[task] - count))
            for task, count in counts.items()
        }

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The examples of optimizer step `step` (counted over the whole run) for each task."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return {
            task: self._order(task, epoch)[position * size : (position + 1) * size]
            for task, size in self.sub_batch.items()
        }

    def _draws(self, task: str) -> int:
        count = self.steps_per_epoch * self.sub_batch[task]
        overshoot = count - self.sizes[task]
        return self.sizes[task] if 0 <= overshoot < self.sub_batch[task] else count

    def _order(self, task: str, epoch: int) -> np.ndarray:
        if (task, epoch) not in self._orders:
            # Two epochs are in use at most: a worker may still fetch while the next one starts.
            if len(self._orders) == 2 * len(self.sizes):
                del self._orders[next(iter(self._orders))]
            self._orders[task, epoch] = self._epoch_order(task, epoch)
        return self._orders[task, epoch]

    def _epoch_order(self, task: str, epoch: int) -> np.ndarray:
        """All draws of one task in one epoch, step after step."""
        size, count, sub_batch = self.sizes[task], self._draws(task), self.sub_batch[task]
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(task.encode())])
        passes = [rng.permutation(size) for _ in range(-(-count // size))]
        draws = np.concatenate(passes)[:count]
        for begin in range(0, count, size):
            # Whole batches of one pass only: sorted together, two passes would meet in a batch.
            first = -(-begin // sub_batch) * sub_batch
            last = min(begin + size, count) // sub_batch * sub_batch
            for start in range(first, last, POOL_BATCHES * sub_batch):
                pool = slice(start, min(start + POOL_BATCHES * sub_batch, last))
                draws[pool] = _neighbours(draws[pool], self.lengths[task], sub_batch, rng)
        return draws


def part_of(rows: np.ndarray, *, index: int, num_parts: int) -> np.ndarray:
    """Part `index` of a task's global sub-batch: one rank's share of one micro-batch.

    The parts are disjoint and complete, and one may be empty in a short sub-batch. Every n-th row
    is taken, so that each part holds short and long texts alike.
    """
    return rows[index::num_parts]


def _neighbours(
    rows: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Batches of neighbours in length, in random order."""
    by_length = rows[np.argsort(lengths[rows], kind="stable")].reshape(-1, size)
    return by_length[rng.permutation(len(by_length))].reshape(-1)
