"""In which order an epoch draws one task's examples, and how they are cut into steps.

The examples of a step are neighbours in length: pools of `POOL_STEPS` steps (a whole pass, under a
budget of tokens) are sorted, cut, and put in random order. No example is drawn a second time before
all were drawn once; the step at the seam of two passes may hold one twice.

Shapes: S steps, N examples of the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POOL_STEPS = 100


@dataclass(frozen=True)
class Draws:
    """What one epoch draws of one task.

    Attributes:
        rows: Every example drawn, step after step.
        bounds: `rows[bounds[s]:bounds[s + 1]]` is drawn in step `s`; S + 1 of them.
        size: Examples of the task.
    """

    rows: np.ndarray
    bounds: np.ndarray
    size: int

    def step(self, position: int) -> np.ndarray:
        """The examples of one step; empty where the step leaves the task out."""
        return self.rows[self.bounds[position] : self.bounds[position + 1]]

    @property
    def counts(self) -> np.ndarray:
        """How many examples each step draws, S of them."""
        return np.diff(self.bounds)

    @property
    def drawn(self) -> int:
        """Examples drawn, counted as often as they are drawn."""
        return len(self.rows)

    @property
    def repeated(self) -> int:
        """Draws of an example that was drawn before."""
        return max(0, self.drawn - self.size)

    @property
    def left_out(self) -> int:
        """Examples that are not drawn."""
        return max(0, self.size - self.drawn)

    def padding(self, lengths_N: np.ndarray, num_parts: int = 1) -> float:
        """The part of the tokens that is padding, where a step is cut into `num_parts`."""
        tokens = padded = 0
        for position in range(len(self.bounds) - 1):
            rows = self.step(position)
            for part in (part_of(rows, index=i, num_parts=num_parts) for i in range(num_parts)):
                if len(part):
                    lengths = lengths_N[part]
                    tokens += int(lengths.sum())
                    padded += int(lengths.max()) * len(part)
        return 1 - tokens / padded if padded else 0.0


def draw(
    lengths_N: np.ndarray,
    counts_S: np.ndarray,
    rng: np.random.Generator,
    *,
    max_tokens: int | None = None,
) -> Draws:
    """Draws one epoch of one task.

    A task that is seen whole exactly in its last step closes the epoch with a short part, and
    repeats nothing.

    Args:
        lengths_N: The token count of each example.
        counts_S: Examples that each step asks for; 0 leaves the task out.
        rng: Where the order comes from.
        max_tokens: A step takes fewer examples where, padded, they would be more tokens than this.
            A pass over the task is then cut by the least that one of its steps asks for.
    """
    present = np.flatnonzero(counts_S)
    counts = counts_S[present]
    if max_tokens is None:
        parts = _by_counts(lengths_N, counts, rng)
    else:
        parts = _by_tokens(lengths_N, counts, rng, max_tokens)
    taken_S = np.zeros(len(counts_S), dtype=np.int64)
    taken_S[present[: len(parts)]] = [len(part) for part in parts]
    rows = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return Draws(rows, np.concatenate([[0], np.cumsum(taken_S)]), len(lengths_N))


def num_parts_of_a_pass(lengths_N: np.ndarray, count: int, max_tokens: int | None) -> int:
    """How many steps see the whole task once.

    Args:
        lengths_N: The token count of each example.
        count: Examples that each step asks for.
        max_tokens: As in `draw`.
    """
    if max_tokens is None:
        return -(-len(lengths_N) // count)
    rows = np.argsort(lengths_N, kind="stable")
    return len(_cut(rows, lengths_N, count, max_tokens))


def part_of(rows: np.ndarray, *, index: int, num_parts: int) -> np.ndarray:
    """Part `index` of a task's global sub-batch: one rank's share of one micro-batch.

    The parts are disjoint and complete, and one may be empty in a short sub-batch. Every n-th row
    is taken, so that each part holds short and long texts alike.
    """
    return rows[index::num_parts]


def _by_counts(
    lengths_N: np.ndarray, counts_P: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """One array of rows for each step that carries the task."""
    size, total = len(lengths_N), int(counts_P.sum())
    bounds = np.concatenate([[0], np.cumsum(counts_P)])
    if total and 0 <= total - size < counts_P[-1]:
        bounds[-1] = total = size
    passes = [rng.permutation(size) for _ in range(-(-total // size))]
    rows = np.concatenate([*passes, np.empty(0, dtype=np.int64)])[:total]
    parts = np.split(rows, bounds[1:-1]) if len(counts_P) else []
    for begin in range(0, total, size):
        # Whole steps of one pass only: sorted together, two passes would meet in a step.
        first = int(np.searchsorted(bounds, begin, "left"))
        last = int(np.searchsorted(bounds, min(begin + size, total), "right")) - 1
        for start in range(first, last, POOL_STEPS):
            stop = min(start + POOL_STEPS, last)
            pool = rows[bounds[start] : bounds[stop]]
            order = start + rng.permutation(stop - start)
            ends = np.cumsum(np.diff(bounds)[order])[:-1]
            by_length = pool[np.argsort(lengths_N[pool], kind="stable")]
            for step, part in zip(order, np.split(by_length, ends), strict=True):
                parts[step] = part
    return parts


def _by_tokens(
    lengths_N: np.ndarray, counts_P: np.ndarray, rng: np.random.Generator, max_tokens: int
) -> list[np.ndarray]:
    """As `_by_counts`, under a budget of padded tokens; a pass ends with a short part."""
    parts: list[np.ndarray] = []
    while len(parts) < len(counts_P):
        # All of a pass is sorted, ties in random order: every pass has the same number of parts.
        order = rng.permutation(len(lengths_N))
        by_length = order[np.argsort(lengths_N[order], kind="stable")]
        count, least, found = 0, int(counts_P[len(parts)]), parts[:0]
        while least != count:
            # Where shares move, the smaller parts of a longer pass may meet a still smaller count.
            count = least
            found = _cut(by_length, lengths_N, count, max_tokens)
            least = int(counts_P[len(parts) : len(parts) + len(found)].min())
        parts += [found[i] for i in rng.permutation(len(found))]
    return parts[: len(counts_P)]


def _cut(
    by_length: np.ndarray, lengths_N: np.ndarray, count: int, max_tokens: int
) -> list[np.ndarray]:
    """Cuts rows of rising length into parts of at most `count` rows and `max_tokens` tokens."""
    parts, begin = [], 0
    for end, length in enumerate(lengths_N[by_length]):
        if end > begin and (end - begin == count or (end - begin + 1) * length > max_tokens):
            parts.append(by_length[begin:end])
            begin = end
    return [*parts, by_length[begin:]]
