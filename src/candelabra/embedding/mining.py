"""Negatives for pairs: drawn at random, or by sentence-transformers' miner of hard negatives.

Shapes: N distinct texts, D width of a vector, T triplets.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from candelabra.embedding.pairs import Pair
from candelabra.embedding.recipes import Recipe

SCORES = 2**26
"""Cosines that are held at a time: 256 MiB."""
BLOCK = 65536
"""Triplets whose cosines are computed at a time."""


@dataclass(frozen=True)
class Known:
    """Vectors of texts, made before; stands for a model where the miner wants one.

    Attributes:
        texts: N distinct texts.
        vectors_ND: Their vectors, of unit length.
    """

    texts: Sequence[str]
    vectors_ND: np.ndarray

    device = "cpu"

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each text stands."""
        return {text: place for place, text in enumerate(self.texts)}

    def encode_query(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        """The vectors of known texts."""
        return self.vectors_ND[[self.places[text] for text in texts]]

    encode_document = encode_query

    def similarity(self, left_ND: Any, right_ND: Any) -> Tensor:
        """All cosines."""
        return torch.as_tensor(left_ND) @ torch.as_tensor(right_ND).T

    def similarity_pairwise(self, left_ND: Any, right_ND: Any) -> Tensor:
        """The cosines row by row."""
        return (torch.as_tensor(left_ND) * torch.as_tensor(right_ND)).sum(1)

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        """The cosine of each text of `left` with that of `right`."""
        parts = [np.empty(0, dtype=np.float32)]
        for begin in range(0, len(left), BLOCK):
            rows = slice(begin, begin + BLOCK)
            both = self.encode_query(left[rows]), self.encode_query(right[rows])
            parts.append(np.einsum("td,td->t", *both))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Triplets:
    """Anchors with a positive and a negative.

    Attributes:
        anchors: T texts.
        positives: T texts.
        negatives: T texts; never the anchor itself or one of its positives.
    """

    anchors: list[str]
    positives: list[str]
    negatives: list[str]

    def __len__(self) -> int:
        return len(self.anchors)

    def some(self, most: int, *, seed: int) -> Triplets:
        """No more than so many of them, drawn, in their order."""
        rows = sorted(random.Random(seed).sample(range(len(self)), min(most, len(self))))
        return Triplets(*([column[row] for row in rows] for column in self.columns().values()))

    def columns(self) -> dict[str, list[str]]:
        """For a file."""
        return {"anchor": self.anchors, "positive": self.positives, "negative": self.negatives}


def drawn(pairs: Sequence[Pair], num_negatives: int = 1, *, seed: int = 0) -> Triplets:
    """Negatives at random: other pairs' positives.

    Args:
        pairs: Cleaned ones.
        num_negatives: How many for each pair; fewer where there are no more.
        seed: Of the draw.
    """
    corpus = list(dict.fromkeys(positive for _, positive in pairs))
    place = {text: row for row, text in enumerate(corpus)}
    own: dict[str, set[int]] = {}
    for anchor, positive in pairs:
        taken = own.setdefault(anchor, {place[anchor]} if anchor in place else set())
        taken.add(place[positive])
    rng = np.random.default_rng(seed)
    found = []
    for anchor, positive in pairs:
        # So many distinct rows hold enough that are not the anchor's own.
        most = min(len(corpus), num_negatives + len(own[anchor]))
        rows = rng.choice(len(corpus), size=most, replace=False).tolist()
        others = [row for row in rows if row not in own[anchor]][:num_negatives]
        found += [(anchor, positive, corpus[row]) for row in others]
    return _triplets(found)


def mined(pairs: Sequence[Pair], known: Known, recipe: Recipe, *, seed: int = 0) -> Triplets:
    """Negatives by their similarity, as a recipe asks.

    Args:
        pairs: Cleaned ones.
        known: The vectors of all their texts.
        recipe: What may become a negative.
        seed: Of `sampling: random`.
    """
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    positives = {positive for _, positive in pairs}
    # An anchor that is a candidate too counts as its own positive, so that it is never its
    # negative. Its cosine of 1 moves no margin: the least similar positive sets them.
    selves = [(anchor, anchor) for anchor in dict.fromkeys(a for a, _ in pairs)]
    rows = [*pairs, *(pair for pair in selves if pair[0] in positives)]
    settings = {item.name: getattr(recipe, item.name) for item in fields(recipe)}
    settings["sampling_strategy"] = settings.pop("sampling")
    model: Any = known
    with _seeded(seed), redirect_stderr(io.StringIO()):  # a bar that cannot be turned off
        found = mine_hard_negatives(
            Dataset.from_dict({"anchor": [a for a, _ in rows], "positive": [b for _, b in rows]}),
            model,
            anchor_column_name="anchor",
            positive_column_name="positive",
            output_format="triplet",
            verbose=False,
            faiss_batch_size=max(1, SCORES // len(positives)),
            **settings,
        )
    columns = (list(found[name]) for name in ("anchor", "positive", "negative"))
    triplets = zip(*columns, strict=True)
    return _triplets([triplet for triplet in triplets if triplet[0] != triplet[1]])


def _triplets(rows: Sequence[tuple[str, str, str]]) -> Triplets:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    anchors, positives, negatives = map(list, columns)
    return Triplets(anchors, positives, negatives)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The miner draws by Python's own generator, which others draw by as well."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
