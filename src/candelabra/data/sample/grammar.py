"""Random texts from pools of phrases, the same on every machine.

A phrase is plain text with slots. `{pool}` stands for a draw from that pool, and the drawn phrase
may have slots of its own; `{Kind:pool}` is the same and names what the drawn text is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from random import Random

SLOT = re.compile(r"\{(?:(\w+):)?(\w+)\}")


def load(name: str) -> dict[str, list[str]]:
    """The pools of a file of this package; a pool `x` of a table `t` is called `t_x`."""
    tables = tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text("ascii"))
    pools: dict[str, list[str]] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            pools |= {f"{key}_{inner}": phrases for inner, phrases in value.items()}
        else:
            pools[key] = value
    return pools


class Deck:
    """Deals the phrases of a pool in random order, each once before any comes again."""

    def __init__(self, phrases: Sequence[str], rng: Random) -> None:
        self.phrases = phrases
        self.rng = rng
        self.left: list[str] = []

    def deal(self) -> str:
        """The next phrase."""
        if not self.left:
            self.left = list(self.phrases)
            self.rng.shuffle(self.left)
        return self.left.pop()


class Grammar:
    """Fills the slots of phrases from decks over the pools."""

    def __init__(self, pools: Mapping[str, Sequence[str]], rng: Random) -> None:
        self.decks = {name: Deck(phrases, rng) for name, phrases in pools.items()}

    def deal(self, pool: str) -> str:
        """A phrase of `pool`, its slots still open."""
        return self.decks[pool].deal()

    def fill(self, phrase: str) -> str:
        """`phrase` with every slot filled."""
        return "".join(text for text, _ in self.segments(phrase))

    def segments(self, phrase: str) -> Iterator[tuple[str, str]]:
        """The filled pieces of `phrase` in order, each with its kind ("" for none)."""
        end = 0
        for slot in SLOT.finditer(phrase):
            yield phrase[end : slot.start()], ""
            kind, pool = slot.groups(default="")
            yield self.fill(self.deal(pool)), kind
            end = slot.end()
        yield phrase[end:], ""
