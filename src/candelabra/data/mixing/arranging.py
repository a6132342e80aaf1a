"""Arrangements of examples for losses that compare the examples of a step with each other.

An arrangement permutes the rows that an epoch has drawn for a task. It keeps the number of rows in
each step, but may undo the grouping by length.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from candelabra.data.mixing.order import Draws
from candelabra.data.rows.cells import without_case
from candelabra.records import Examples

_log = logging.getLogger(__name__)

Arrange = Callable[..., Draws]
"""Signature of an arrangement: `(draws, *, examples, rng) -> draws`."""

PER_LABEL = 4
"""Number of texts with the same label in a group of `together`."""
FAILURES = 10
"""Number of failed moves after which rows with a text are no longer moved."""
TRIES = 1000
"""Maximum number of candidate places that are tried for one row."""


def apart(draws: Draws, *, examples: Examples, rng: np.random.Generator) -> Draws:
    """Avoid duplicate texts in a step, which in-batch losses would treat as false negatives.

    A row that shares a text with another row of its step swaps places with a row of a later step,
    or else of an earlier one. It keeps its place if no swap is possible, for example because almost
    every step contains the text; the number of these rows is logged.

    Args:
        draws: Rows that the epoch draws.
        examples: Pairs or triplets. Texts that differ only in case and spaces are duplicates.
        rng: Unused.

    Returns:
        The same rows in another order.
    """
    seating = _Seating(draws, _numbered(examples))
    left = [place for place in range(len(seating.rows)) if not seating.part(place)]
    seating.failures.clear()  # later swaps may have made a move possible
    left = [place for place in left if not seating.part(place)]
    if left:
        _log.info("%d of %d rows stay in a step with a duplicate text", len(left), draws.drawn)
    return Draws(np.array(seating.rows, dtype=np.int64), draws.bounds, draws.size)


def _numbered(examples: Examples) -> list[set[int]]:
    """Return the texts of each row as integer ids."""
    number: dict[str, int] = {}
    return [
        {number.setdefault(without_case(text), len(number)) for text in row}
        for row in zip(*examples.texts, strict=True)
    ]


class _Seating:
    """Mutable assignment of rows to the places of the steps, with text counts for each step.

    Args:
        draws: Rows that the epoch draws.
        texts: Text ids of each row.
    """

    def __init__(self, draws: Draws, texts: list[set[int]]) -> None:
        self.rows: list[int] = draws.rows.tolist()
        self.texts = texts
        self.bounds = draws.bounds.tolist()
        self.step_at = np.repeat(np.arange(len(draws.counts)), draws.counts).tolist()
        self.held: list[Counter[int]] = [Counter() for _ in draws.counts]
        for row, step in zip(self.rows, self.step_at, strict=True):
            self.held[step].update(texts[row])
        self.failures: Counter[int] = Counter()
        """Number of failed moves of rows with each text."""

    def part(self, place: int) -> bool:
        """Move the row at a place to another step if it shares a text with its step.

        Returns:
            Whether the row has no text in common with the other rows of its step afterwards.
        """
        row, step = self.rows[place], self.step_at[place]
        twice = [text for text in self.texts[row] if self.held[step][text] > 1]
        if not twice:
            return True
        if any(self.failures[text] == FAILURES for text in twice):
            return False
        for other in islice(self._where_it_fits(row, step, twice), TRIES):
            if self._fits(self.rows[other], step, leaving=row):
                self._swap(place, other)
                return True
        self.failures.update(twice)
        return False

    def _where_it_fits(self, row: int, step: int, twice: Sequence[int]) -> Iterator[int]:
        """Yield places of other steps that can receive the row, starting with the next step."""
        for there in chain(range(step + 1, len(self.held)), range(step)):
            if any(self.held[there][text] for text in twice):
                continue  # a swap would leave the duplicate in one of the two steps
            for other in range(self.bounds[there], self.bounds[there + 1]):
                if self._fits(row, there, leaving=self.rows[other]):
                    yield other

    def _fits(self, row: int, step: int, *, leaving: int) -> bool:
        """Return whether a row has no text in common with a step once `leaving` is removed."""
        there = self.texts[leaving]
        return all(self.held[step][text] == (text in there) for text in self.texts[row])

    def _swap(self, place: int, other: int) -> None:
        """Swap the rows of two places and update the text counts of their steps."""
        one, another = self.step_at[place], self.step_at[other]
        leaving, coming = self.rows[place], self.rows[other]
        for step, out, into in ((one, leaving, coming), (another, coming, leaving)):
            self.held[step].subtract(self.texts[out])
            self.held[step].update(self.texts[into])
        self.rows[place], self.rows[other] = coming, leaving


def together(draws: Draws, *, examples: Examples, rng: np.random.Generator) -> Draws:
    """Group texts with the same label, so that a step contains positives for each text.

    The groups have `PER_LABEL` texts; only the last group of a label may be smaller, or one larger.
    All rows are drawn once before one is drawn again, so that no group has a text twice.

    Args:
        draws: Rows that the epoch draws.
        examples: Texts with class ids.
        rng: Random generator that shuffles the texts of each label and the groups.

    Returns:
        The same rows in another order.
    """
    passes: list[list[int]] = []
    drawn: Counter[int] = Counter()
    for row in draws.rows.tolist():
        if drawn[row] == len(passes):
            passes.append([])
        passes[drawn[row]].append(row)
        drawn[row] += 1
    groups = [group for rows in passes for group in _groups(rows, examples, rng)]
    return Draws(np.concatenate([*groups, draws.rows[:0]]), draws.bounds, draws.size)


def _groups(rows: Sequence[int], examples: Examples, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the rows of one pass in groups with the same label, in a random order."""
    shuffled = rng.permutation(rows)
    labels = np.asarray([examples.labels[row] for row in shuffled])
    groups = []
    for label in np.unique(labels):
        own = shuffled[labels == label]
        # A group of one text would have no positive: add it to the previous group.
        cuts = [at for at in range(PER_LABEL, len(own), PER_LABEL) if len(own) - at > 1]
        groups += np.split(own, cuts)
    return [groups[place] for place in rng.permutation(len(groups))]
