"""Which examples share a step, for losses that compare them with each other.

An arrangement changes the order of what an epoch has drawn of a task: the rows stay the same, and
so does the number of them in each step. Neighbours in length may get lost by it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from candelabra.data.cells import without_case
from candelabra.data.order import Draws
from candelabra.records import Examples

_log = logging.getLogger(__name__)

Arrange = Callable[..., Draws]
"""(draws, *, examples, rng) -> draws."""

PER_LABEL = 4
"""Texts of one label that stand together."""
FAILURES = 10
"""A text for which so often no place was found is left where it stands."""
TRIES = 1000
"""Places at which a row that may not stay where it is asks for room."""


def apart(draws: Draws, *, examples: Examples, rng: np.random.Generator) -> Draws:
    """No text stands twice in a step: another's positive would else be a false negative.

    A row that shares a text with another one of its step changes places with a row of a later step,
    or of an earlier one. It stays where no such row is found: a text may be in almost every step.
    run.log says how many stay.

    Args:
        draws: What the epoch draws.
        examples: Pairs or triplets; texts that differ in case and spaces alone are the same.
        rng: Not used.
    """
    seating = _Seating(draws, _numbered(examples))
    left = [place for place in range(len(seating.rows)) if not seating.part(place)]
    seating.failures.clear()  # what has moved since may have made room
    left = [place for place in left if not seating.part(place)]
    if left:
        _log.info("%d of %d rows share a step with a text of theirs", len(left), draws.drawn)
    return Draws(np.array(seating.rows, dtype=np.int64), draws.bounds, draws.size)


def _numbered(examples: Examples) -> list[set[int]]:
    """The texts of each row, as numbers."""
    number: dict[str, int] = {}
    return [
        {number.setdefault(without_case(text), len(number)) for text in row}
        for row in zip(*examples.texts, strict=True)
    ]


class _Seating:
    """Rows at places, places in steps; and how often each step holds each text.

    Args:
        draws: What the epoch draws.
        texts: The texts of each row.
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
        """How often no place was found for a row with this text."""

    def part(self, place: int) -> bool:
        """Whether the row at a place shares no text with its step, by now."""
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
        """Places whose row may leave for this one, from the next step on and round to this one."""
        for there in chain(range(step + 1, len(self.held)), range(step)):
            if any(self.held[there][text] for text in twice):
                continue  # it would stand there twice, or its like would come here
            for other in range(self.bounds[there], self.bounds[there + 1]):
                if self._fits(row, there, leaving=self.rows[other]):
                    yield other

    def _fits(self, row: int, step: int, *, leaving: int) -> bool:
        there = self.texts[leaving]
        return all(self.held[step][text] == (text in there) for text in self.texts[row])

    def _swap(self, place: int, other: int) -> None:
        one, another = self.step_at[place], self.step_at[other]
        leaving, coming = self.rows[place], self.rows[other]
        for step, out, into in ((one, leaving, coming), (another, coming, leaving)):
            self.held[step].subtract(self.texts[out])
            self.held[step].update(self.texts[into])
        self.rows[place], self.rows[other] = coming, leaving


def together(draws: Draws, *, examples: Examples, rng: np.random.Generator) -> Draws:
    """Texts of a label stand in groups of `PER_LABEL`, so that a step holds positives for each.

    Args:
        draws: What the epoch draws.
        examples: Texts with class ids.
        rng: Shuffles the texts of each label, and the groups.
    """
    shuffled = rng.permutation(draws.rows)
    labels = np.asarray([examples.labels[row] for row in shuffled])
    groups = []
    for label in np.unique(labels):
        own = shuffled[labels == label]
        # The last group takes what would be a single text.
        cuts = [at for at in range(PER_LABEL, len(own), PER_LABEL) if len(own) - at > 1]
        groups += np.split(own, cuts)
    rows = [groups[place] for place in rng.permutation(len(groups))]
    return Draws(np.concatenate([*rows, draws.rows[:0]]), draws.bounds, draws.size)
