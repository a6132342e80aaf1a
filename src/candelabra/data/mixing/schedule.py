"""Training schedule: the examples of every step, as a pure function of sizes, shares and seed.

An epoch ends by one of four rules, which work with every sampling scheme and step scheme:

- `all_once`: when every example of every task has been drawn. Tasks that finish earlier continue
  with a new permutation.
- `max_size_cycle`: when every example of the largest task has been drawn.
- `min_size`: when every example of some task has been drawn. Of the other tasks, each epoch draws
  a new random subset.
- `steps`: after `steps_per_epoch` steps.

The number of steps per epoch follows from the shares at the start of the run and is constant, even
if the shares change, because learning-rate schedules and resumed runs rely on it. A task whose
share decreases may therefore not be drawn completely; `Draws.left_out` counts the missing examples.
Shares may depend on the progress in every step, but on validation scores only from one epoch to
the next.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from candelabra.data.mixing.balancing import RULES, TURNS, proportional
from candelabra.data.mixing.order import ORDERS, Draws, draw, num_parts_of_a_pass
from candelabra.data.mixing.steps import joint
from candelabra.records import TrainingProgress

ShareFunction = Callable[[Mapping[str, int], TrainingProgress], dict[str, float]]
Scores = Mapping[str, float]
Plan = dict[str, Draws]
Arrangement = Callable[..., Draws]
"""Signature of an arrangement: `(draws, *, rng) -> draws`."""

MOST_STEPS = 1_000_000
"""Upper limit of an epoch; a longer one means that the share of some task is almost zero."""


class StepFunction(Protocol):
    """Step scheme: turns the shares of S steps into the counts of examples of each task."""

    def __call__(
        self,
        shares_S: Sequence[Mapping[str, float]],
        batch_size: int,
        *,
        turns: str,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """Return for each task the counts of its examples, of shape (S,)."""


class Schedule:
    """The examples of every step of a run.

    Args:
        lengths: Token counts of the training examples of each task.
        batch_size: Examples per optimizer step over all tasks, ranks and micro-batches.
        shares: Sampling scheme: computes the shares of the tasks from their sizes.
        step: Step scheme: computes the counts of the tasks in each step from the shares.
        epoch: Rule that ends an epoch (see the module).
        seed: Seed of the run.
        turns: `drawn` or `cycled`: the order of the tasks for a step scheme that trains one task
            at a time.
        order: `length` or `random`: whether the examples of a step are neighbours in length.
        num_epochs: Number of epochs of the run, from which its progress is computed.
        steps_per_epoch: Length of an epoch for the rule `steps`; an upper limit for the others.
        max_tokens: Upper limits of the padded tokens of a task in a step, over all ranks and
            micro-batches, for some of the tasks. Such a step may contain fewer examples than its
            count.
        arrange: Arrangements that permute the draws of an epoch, for some of the tasks.

    Raises:
        ValueError: The rule, `turns` or `order` is unknown, the rule is `steps` and
            `steps_per_epoch` is missing, `steps_per_epoch` is below 1, an epoch would not end
            within `MOST_STEPS` steps, or a joint step has more tasks than `batch_size`.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        *,
        batch_size: int,
        shares: ShareFunction = proportional,
        step: StepFunction = joint,
        epoch: str = "max_size_cycle",
        seed: int = 0,
        turns: str = "drawn",
        order: str = "length",
        num_epochs: int = 1,
        steps_per_epoch: int | None = None,
        max_tokens: Mapping[str, int] | None = None,
        arrange: Mapping[str, Arrangement] | None = None,
    ) -> None:
        self.lengths = dict(lengths)
        self.sizes = {task: len(array) for task, array in self.lengths.items()}
        self.batch_size = batch_size
        self.seed = seed
        self.turns = turns
        self.max_tokens = dict(max_tokens or {})
        self.arrange = dict(arrange or {})
        if turns not in TURNS:
            raise ValueError(f"turns must be one of {', '.join(TURNS)}, got {turns!r}")
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        self.order = order
        self._share_function = shares
        self._step_function = step
        self._plans: dict[object, Plan] = {}
        self.steps_per_epoch, self.total_steps = 1, 0
        self.steps_per_epoch = self._steps(epoch, steps_per_epoch)
        self.total_steps = self.steps_per_epoch * num_epochs

    def shares(self, step: int = 0, scores: Scores | None = None) -> dict[str, float]:
        """Return the share of each task in one step.

        Args:
            step: Number of optimizer steps before it in the run.
            scores: Main metric of each task at the start of its epoch.
        """
        progress = TrainingProgress(step, self.steps_per_epoch, self.total_steps, scores or {})
        return self._share_function(self.sizes, progress)

    def batch(self, step: int, scores: Scores | None = None) -> dict[str, np.ndarray]:
        """Return the examples of one step, for each task that it contains.

        Args:
            step: Number of optimizer steps before it in the run.
            scores: Main metric of each task at the start of its epoch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        rows_of = {task: draws.step(position) for task, draws in self.plan(epoch, scores).items()}
        return {task: rows for task, rows in rows_of.items() if len(rows)}

    def plan(self, epoch: int, scores: Scores | None = None) -> Plan:
        """Return the draws of each task in one epoch.

        Args:
            epoch: Index of the epoch, from 0.
            scores: Main metric of each task at the start of the epoch.
        """
        # The key is text because nan differs from itself, which would defeat the cache.
        key = (epoch, repr(sorted((scores or {}).items())))
        if key not in self._plans:
            # Keep two plans: workers may still read one epoch when the next one starts.
            if len(self._plans) == 2:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = self._make_plan(epoch, scores)
        return self._plans[key]

    def _make_plan(self, epoch: int, scores: Scores | None) -> Plan:
        begin = epoch * self.steps_per_epoch
        shares_S = [self.shares(begin + i, scores) for i in range(self.steps_per_epoch)]
        counts = self._counts(shares_S, epoch)
        plan = {}
        for task in self.sizes:
            rng = self._rng(epoch, task)
            most = self.max_tokens.get(task)
            draws = draw(self.lengths[task], counts[task], rng, max_tokens=most, order=self.order)
            plan[task] = self.arrange[task](draws, rng=rng) if task in self.arrange else draws
        return plan

    def _counts(self, shares_S: list[dict[str, float]], epoch: int) -> dict[str, np.ndarray]:
        rng = self._rng(epoch, "")
        return self._step_function(shares_S, self.batch_size, turns=self.turns, rng=rng)

    def _rng(self, epoch: int, task: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, zlib.crc32(task.encode())])

    def _steps(self, rule: str, limit: int | None) -> int:
        if rule not in RULES:
            raise ValueError(f"epoch must be one of {', '.join(RULES)}, got {rule!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"steps_per_epoch must be 1 or more, got {limit}")
        if rule == "steps":
            if limit is None:
                raise ValueError("epoch=steps needs steps_per_epoch, got none")
            return limit
        largest = max(self.sizes, key=self.sizes.__getitem__)
        tasks = [largest] if rule == "max_size_cycle" else list(self.sizes)
        num_needed = 1 if rule == "min_size" else len(tasks)
        return self._seen_whole(tasks, num_needed, limit)

    def _seen_whole(self, wanted: list[str], num_needed: int, limit: int | None) -> int:
        """Return the number of steps until some tasks have been drawn completely, or the limit.

        Args:
            wanted: Tasks that are considered.
            num_needed: Number of them that must have been drawn completely.
            limit: Upper limit of the steps; `None` allows `MOST_STEPS`.

        Raises:
            ValueError: There is no limit, and more than `MOST_STEPS` steps would be needed.
        """
        start, most = self.shares(), min(limit or MOST_STEPS, MOST_STEPS)
        end: float = min(128, most)
        while end <= most:
            num_steps = int(end)
            # Always `cycled`: `drawn` shuffles the same turns in pools, and a pool may be cut off
            # by the end of the epoch.
            counts = self._step_function(
                [start] * num_steps, self.batch_size, turns="cycled", rng=self._rng(0, "")
            )
            ends = sorted(self._end(task, counts[task], start[task]) for task in wanted)
            if ends[num_needed - 1] <= num_steps:
                return int(ends[num_needed - 1])
            if num_steps == most:
                break
            end = max(min(2 * num_steps, most), ends[num_needed - 1])
        if limit is not None and limit <= MOST_STEPS:
            return limit
        raise ValueError(
            f"an epoch must end within {MOST_STEPS:,} steps, but with the shares {start} it does "
            "not; give steps_per_epoch"
        )

    def _end(self, task: str, counts_S: np.ndarray, share: float) -> float:
        """Return the step that completes the first pass over a task, counted from 1.

        If the pass does not end within the S steps, return a lower bound, so that the caller can
        skip numbers of steps that cannot be enough.
        """
        present, num_steps, size = np.flatnonzero(counts_S), len(counts_S), self.sizes[task]
        counts, max_tokens = counts_S[present], self.max_tokens.get(task)
        if max_tokens is None:
            needed = int(np.searchsorted(np.cumsum(counts), size)) + 1
            if needed > len(present):
                needed = -(-size // int(counts.max(initial=1)))
                needed = max(needed, len(present) + 1)
        else:
            least = int(counts.min(initial=self.batch_size))
            needed = num_parts_of_a_pass(self.lengths[task], least, max_tokens)
        if needed <= len(present):
            return int(present[needed - 1]) + 1
        if len(present) == num_steps:
            return needed
        # `alternate` gives a task less than one step more than its share of the steps.
        turns = needed - 1 + 1 / len(self.sizes)
        return max(num_steps + 1, turns / share if share else math.inf)
