"""Which examples make up which step: a pure function of (sizes, shares, seed, epoch, step).

**An epoch** ends by one of four rules, whatever the balancing and the step:

- `all_once`: when every task has been seen whole; the others go on with a fresh permutation.
- `max_size_cycle`: when the largest task has been seen whole.
- `min_size`: when the first task has been seen whole; of the others a fresh subset is seen.
- `steps`: after `steps_per_epoch` steps.

Its number of steps follows from the shares at the start of the run and stays the same, also where
shares move: learning-rate schedules and resumed runs count on it. A task whose share falls may then
not be seen whole; what was left out is reported. Shares may follow the progress from step to step;
scores are taken up where an epoch begins.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from candelabra.data.balancing import RULES, TURNS, Moment
from candelabra.data.order import Draws, draw, num_parts_of_a_pass

ShareFunction = Callable[[Mapping[str, int], Moment], dict[str, float]]
Scores = Mapping[str, float]
Plan = dict[str, Draws]
Arrangement = Callable[..., Draws]
"""(draws, *, rng) -> draws."""

MOST_STEPS = 1_000_000
"""A longer epoch is taken for a mistake: a task's share is next to nothing."""


class StepFunction(Protocol):
    """Shares of S steps -> examples that each step asks of each task (see `data/steps.py`)."""

    def __call__(
        self,
        shares_S: Sequence[Mapping[str, float]],
        batch_size: int,
        *,
        turns: str,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """The counts of each task, S of them."""


class Schedule:
    """The examples of every step of a run.

    Args:
        lengths: For each task the token count of each training example.
        shares: Sizes -> how much each task gets.
        step: Shares -> which tasks a step carries.
        epoch: The rule that ends an epoch (see the module).
        batch_size: Examples per optimizer step over all tasks, ranks and micro-batches.
        seed: The run's seed.
        turns: `drawn` or `cycled`, for a step that does not carry every task.
        num_epochs: Epochs of the run; its progress is counted by them.
        steps_per_epoch: For the rule `steps` the length of an epoch; for the others an upper limit.
        max_tokens: For some tasks, the most padded tokens in a step, ranks and micro-batches
            together; such a step may hold fewer examples than its share.
        arrange: For some tasks, what changes the order of an epoch's draws.

    Raises:
        ValueError: Unknown rule or turns, `steps` without a number, an epoch without a step or
            without end, or, in a joint step, more tasks than `batch_size`.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        *,
        shares: ShareFunction,
        step: StepFunction,
        epoch: str,
        batch_size: int,
        seed: int,
        turns: str = "drawn",
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
            raise ValueError(f"balancing.turns must be one of {', '.join(TURNS)}, got {turns!r}")
        self._share_function = shares
        self._step_function = step
        self._plans: dict[object, Plan] = {}
        self.total_steps = 0
        self.steps_per_epoch = self._steps(epoch, steps_per_epoch)
        self.total_steps = self.steps_per_epoch * num_epochs

    def shares(self, step: int = 0, scores: Scores | None = None) -> dict[str, float]:
        """How much of a step each task gets in step `step` of the run."""
        progress = min(1.0, step / max(1, self.total_steps - 1))
        return self._share_function(self.sizes, Moment(progress, scores or {}))

    def batch(self, step: int, scores: Scores | None = None) -> dict[str, np.ndarray]:
        """The examples of step `step` (counted over the whole run) for each task it carries.

        Args:
            step: Optimizer steps before it.
            scores: The tasks' main metrics where its epoch began.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        found = {task: draws.step(position) for task, draws in self.plan(epoch, scores).items()}
        return {task: rows for task, rows in found.items() if len(rows)}

    def plan(self, epoch: int, scores: Scores | None = None) -> Plan:
        """What an epoch draws of each task."""
        # As text: of two scores that are no number neither is the other.
        key = (epoch, repr(sorted((scores or {}).items())))
        if key not in self._plans:
            # Two are in use at most: a worker may still fetch while the next epoch starts.
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
            draws = draw(
                self.lengths[task], counts[task], rng, max_tokens=self.max_tokens.get(task)
            )
            plan[task] = self.arrange[task](draws, rng=rng) if task in self.arrange else draws
        return plan

    def _counts(self, shares_S: list[dict[str, float]], epoch: int) -> dict[str, np.ndarray]:
        rng = self._rng(epoch, "")
        return self._step_function(shares_S, self.batch_size, turns=self.turns, rng=rng)

    def _rng(self, epoch: int, task: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, zlib.crc32(task.encode())])

    def _steps(self, rule: str, limit: int | None) -> int:
        if rule not in RULES:
            raise ValueError(f"balancing.epoch must be one of {', '.join(RULES)}, got {rule!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"balancing.steps_per_epoch must be 1 or more, got {limit}")
        if rule == "steps":
            if limit is None:
                raise ValueError("balancing.epoch=steps needs balancing.steps_per_epoch, got none")
            return limit
        largest = max(self.sizes, key=self.sizes.__getitem__)
        wanted = [largest] if rule == "max_size_cycle" else list(self.sizes)
        enough = 1 if rule == "min_size" else len(wanted)
        return self._seen_whole(wanted, enough, limit)

    def _seen_whole(self, wanted: list[str], enough: int, limit: int | None) -> int:
        """Steps until `enough` of the wanted tasks have been seen whole, or the limit."""
        start, most = self.shares(), min(limit or MOST_STEPS, MOST_STEPS)
        end: float = min(128, most)
        while end <= most:
            num_steps = int(end)
            # Cycled: drawn turns are these, shuffled, and the epoch's end may cut a pool of them.
            counts = self._step_function(
                [start] * num_steps, self.batch_size, turns="cycled", rng=self._rng(0, "")
            )
            ends = sorted(self._end(task, counts[task], start[task]) for task in wanted)
            if ends[enough - 1] <= num_steps:
                return int(ends[enough - 1])
            if num_steps == most:
                break
            end = max(min(2 * num_steps, most), ends[enough - 1])
        if limit is not None and limit <= MOST_STEPS:
            return limit
        raise ValueError(
            f"an epoch must end within {MOST_STEPS:,} steps, but with the shares {start} it does "
            "not; give balancing.steps_per_epoch"
        )

    def _end(self, task: str, counts_S: np.ndarray, share: float) -> float:
        """The step that completes the task's first pass, counted from 1.

        Beyond the S steps it is the earliest possible one, so that no time is lost on millions of
        steps that cannot be enough.
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
        # A task that waits for its turns has had less than one more than its share of them.
        turns = needed - 1 + 1 / len(self.sizes)
        return max(num_steps + 1, turns / share if share else math.inf)
