"""Which examples share a step, for losses that compare them with each other.

An arrangement changes the order of what an epoch has drawn of a task: the rows stay the same, and
so does the number of them in each step. Neighbours in length may get lost by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain, islice

import numpy as np

from candelabra.data.cells import without_case
from candelabra.data.order import Draws
from candelabra.records import Examples

Arrange = Callable[..., Draws]
"""(draws, *, examples, rng) -> draws."""

PER_LABEL = 4
"""Texts of one label that stand together."""
TRIES = 1000
"""Rows that are asked to change places with one that may not stay where it is."""


def apart(draws: Draws, *, examples: Examples, rng: np.random.Generator) -> Draws:
    """No text stands twice in a step: another's positive would else be a false negative.

    A row that shares a text with another one of its step changes places with a row of a later step,
    or of an earlier one. It stays where no such row is found: a text may be in almost every step.

    Args:
        draws: What the epoch draws.
        examples: Pairs or triplets; texts that differ in case and spaces alone are the same.
        rng: Not used.
    """
    number: dict[str, int] = {}
    texts = [
        {number.setdefault(without_case(text), len(number)) for text in row}
        for row in zip(*examples.texts, strict=True)
    ]
    rows = draws.rows.tolist()
    step_at = np.repeat(np.arange(len(draws.counts)), draws.counts).tolist()
    held: list[Counter[int]] = [Counter() for _ in draws.counts]
    for row, step in zip(rows, step_at, strict=True):
        held[step].update(texts[row])

    def fits(row: int, step: int, *, leaving: int) -> bool:
        return all(held[step][text] == (text in texts[leaving]) for text in texts[row])

    for place, step in enumerate(step_at):
        row = rows[place]
        if all(held[step][text] == 1 for text in texts[row]):
            continue
        elsewhere = chain(range(draws.bounds[step + 1], len(rows)), range(draws.bounds[step]))
        for other in islice(elsewhere, TRIES):
            there, taken = step_at[other], rows[other]
            if fits(taken, step, leaving=row) and fits(row, there, leaving=taken):
                held[step].subtract(texts[row])
                held[step].update(texts[taken])
                held[there].subtract(texts[taken])
                held[there].update(texts[row])
                rows[place], rows[other] = taken, row
                break
    return Draws(np.array(rows, dtype=np.int64), draws.bounds, draws.size)


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
