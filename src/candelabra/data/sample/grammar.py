"""Random texts from pools of phrases, reproducible on every machine.

A phrase is text with slots. The slot `{pool}` is replaced by a phrase that is drawn from the pool
and may contain slots itself. The slot `{Kind:pool}` also labels the inserted text with a kind.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from random import Random

SLOT = re.compile(r"\{(?:(\w+):)?(\w+)\}")
"""Pattern of a slot; its groups are the kind, if there is one, and the pool."""


def load(name: str) -> dict[str, list[str]]:
    """Load the pools of a toml file of this package; pool `x` of table `t` is named `t_x`."""
    tables = tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text("ascii"))
    pools: dict[str, list[str]] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            pools |= {f"{key}_{inner}": phrases for inner, phrases in value.items()}
        else:
            pools[key] = value
    return pools


class Deck:
    """Random draws from a pool without replacement, refilled when it is empty.

    Args:
        phrases: Phrases of the pool.
        rng: Random generator of the order.
    """

    def __init__(self, phrases: Sequence[str], rng: Random) -> None:
        self.phrases = phrases
        self.rng = rng
        self.left: list[str] = []

    def deal(self) -> str:
        """Return the next phrase."""
        if not self.left:
            self.left = list(self.phrases)
            self.rng.shuffle(self.left)
        return self.left.pop()


class Grammar:
    """Generator of texts that fills the slots of phrases.

    Args:
        pools: Phrases of each pool.
        rng: Random generator of the draws.
    """

    def __init__(self, pools: Mapping[str, Sequence[str]], rng: Random) -> None:
        self.decks = {name: Deck(phrases, rng) for name, phrases in pools.items()}

    def deal(self, pool: str) -> str:
        """Draw a phrase of a pool without filling its slots."""
        return self.decks[pool].deal()

    def fill(self, phrase: str) -> str:
        """Return a phrase with all slots filled."""
        return "".join(text for text, _ in self.segments(phrase))

    def segments(self, phrase: str) -> Iterator[tuple[str, str]]:
        """Yield the pieces of a phrase with all slots filled.

        Yields:
            The text of each piece and its kind, which is empty if it has none.
        """
        end = 0
        for slot in SLOT.finditer(phrase):
            yield phrase[end : slot.start()], ""
            kind, pool = slot.groups(default="")
            yield self.fill(self.deal(pool)), kind
            end = slot.end()
        yield phrase[end:], ""
