"""Order of one task's examples in an epoch, and their division into steps.

By default the examples of a step have similar lengths, which saves padding: the examples of
`POOL_STEPS` steps (under a token budget, of a whole pass over the task) are sorted by length and
divided into steps, and the steps are shuffled. Every example is drawn once before any is drawn
again. Only a step that spans the end of one pass and the start of the next may contain an example
twice.

Shapes: S steps, P steps that contain the task, N examples of the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORDERS = ("length", "random")
"""Orders of the examples: neighbours in length, or drawn at random."""
POOL_STEPS = 100
"""Number of steps whose examples are sorted by length together."""


@dataclass(frozen=True)
class Draws:
    """The examples of one task in the steps of one epoch.

    Attributes:
        rows: Indices of the drawn examples, step after step.
        bounds: S + 1 offsets; step `s` contains `rows[bounds[s]:bounds[s + 1]]`.
        size: Number of examples of the task.
    """

    rows: np.ndarray
    bounds: np.ndarray
    size: int

    def step(self, position: int) -> np.ndarray:
        """Return the examples of one step; empty if the step does not contain the task."""
        return self.rows[self.bounds[position] : self.bounds[position + 1]]

    @property
    def counts(self) -> np.ndarray:
        """Return the number of examples in each step, of shape (S,)."""
        return np.diff(self.bounds)

    @property
    def drawn(self) -> int:
        """Return the number of draws; an example that is drawn twice counts twice."""
        return len(self.rows)

    @property
    def repeated(self) -> int:
        """Return the number of draws that repeat an example."""
        return max(0, self.drawn - self.size)

    @property
    def left_out(self) -> int:
        """Return the number of examples that are not drawn."""
        return max(0, self.size - self.drawn)

    def padding(self, lengths_N: np.ndarray, num_parts: int = 1) -> float:
        """Compute the fraction of padding tokens in the batches of an epoch.

        Args:
            lengths_N: Token count of each example.
            num_parts: Number of batches (ranks times micro-batches) a step is divided into.

        Returns:
            Padding tokens divided by all tokens, from 0 to 1.
        """
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
    order: str = "length",
) -> Draws:
    """Draw the examples of one task for one epoch.

    If the last step completes the first pass over the task, it contains only the examples that are
    left, instead of repeating others.

    Args:
        lengths_N: Token count of each example.
        counts_S: Number of examples of each step; 0 for a step without the task.
        rng: Random generator of the order.
        max_tokens: Upper limit of the padded tokens of a step; a step contains fewer examples than
            its count where it would exceed the limit. The smallest count among the steps of a pass
            then applies to all of them. `None` sets no limit.
        order: One of `ORDERS`; with a limit of tokens, only `length`.

    Returns:
        The drawn examples.
    """
    present = np.flatnonzero(counts_S)
    counts = counts_S[present]
    if max_tokens is None:
        parts = _by_counts(lengths_N, counts, rng, sort=order == "length")
    else:
        parts = _by_tokens(lengths_N, counts, rng, max_tokens)
    taken_S = np.zeros(len(counts_S), dtype=np.int64)
    taken_S[present[: len(parts)]] = [len(part) for part in parts]
    rows = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return Draws(rows, np.concatenate([[0], np.cumsum(taken_S)]), len(lengths_N))


def num_parts_of_a_pass(lengths_N: np.ndarray, count: int, max_tokens: int | None) -> int:
    """Return the number of steps in one pass over the task.

    Args:
        lengths_N: Token count of each example.
        count: Number of examples of each step.
        max_tokens: Upper limit of the padded tokens of a step; `None` sets no limit.

    Example:
        >>> num_parts_of_a_pass(np.array([5, 9, 7]), count=2, max_tokens=None)
        2
    """
    if max_tokens is None:
        return -(-len(lengths_N) // count)
    rows = np.argsort(lengths_N, kind="stable")
    return len(_cut(rows, lengths_N, count, max_tokens))


def part_of(rows: np.ndarray, *, index: int, num_parts: int) -> np.ndarray:
    """Return the rows that one rank processes in one micro-batch of an optimizer step.

    The parts are disjoint and together contain all rows. A part is empty if there are fewer rows
    than parts. It contains every n-th row, so that every part has both short and long texts.

    Args:
        rows: Rows of the task in the optimizer step.
        index: Index of the part.
        num_parts: Number of parts: ranks times micro-batches.

    Example:
        >>> part_of(np.array([4, 7, 1]), index=0, num_parts=2)
        array([4, 1])
    """
    return rows[index::num_parts]


def _by_counts(
    lengths_N: np.ndarray, counts_P: np.ndarray, rng: np.random.Generator, *, sort: bool
) -> list[np.ndarray]:
    """Return the rows of each of the P steps that contain the task."""
    size, total = len(lengths_N), int(counts_P.sum())
    bounds = np.concatenate([[0], np.cumsum(counts_P)])
    if total and 0 <= total - size < counts_P[-1]:
        bounds[-1] = total = size
    passes = [rng.permutation(size) for _ in range(-(-total // size))]
    rows = np.concatenate([*passes, np.empty(0, dtype=np.int64)])[:total]
    parts = np.split(rows, bounds[1:-1]) if len(counts_P) else []
    for begin in range(0, total if sort else 0, size):
        # Only steps within one pass are sorted: a sort over two passes could put the two draws of
        # an example into the same step.
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
    """Return the rows of each of the P steps under a token budget; each pass starts a new step."""
    parts: list[np.ndarray] = []
    while len(parts) < len(counts_P):
        # Sorting the whole pass makes the number of steps independent of the random order.
        order = rng.permutation(len(lengths_N))
        by_length = order[np.argsort(lengths_N[order], kind="stable")]
        count, smallest, one_pass = 0, int(counts_P[len(parts)]), parts[:0]
        while smallest != count:
            # A smaller count makes the pass longer, so that it may reach steps with an even smaller
            # count; repeat until the count no longer changes.
            count = smallest
            one_pass = _cut(by_length, lengths_N, count, max_tokens)
            smallest = int(counts_P[len(parts) : len(parts) + len(one_pass)].min())
        parts += [one_pass[i] for i in rng.permutation(len(one_pass))]
    return parts[: len(counts_P)]


def _cut(
    by_length: np.ndarray, lengths_N: np.ndarray, count: int, max_tokens: int
) -> list[np.ndarray]:
    """Divide rows sorted by length into parts of at most `count` rows and `max_tokens` tokens.

    A single row may exceed `max_tokens`.
    """
    parts, begin = [], 0
    for end, length in enumerate(lengths_N[by_length]):
        if end > begin and (end - begin == count or (end - begin + 1) * length > max_tokens):
            parts.append(by_length[begin:end])
            begin = end
    return [*parts, by_length[begin:]]
