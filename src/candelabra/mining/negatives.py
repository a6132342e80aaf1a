"""Choose negatives for pairs, at random or with sentence-transformers' miner of hard negatives.

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

from candelabra.mining.pair_files import Pair
from candelabra.mining.recipes import Recipe

SCORES = 2**26
"""Maximum number of cosines in memory at a time: 256 MiB in float32."""
BLOCK = 65536
"""Number of pairs of texts whose cosines are computed at a time."""


@dataclass(frozen=True)
class PrecomputedEmbeddings:
    """Precomputed embeddings with the interface of a `SentenceTransformer`, for the miner.

    Attributes:
        texts: N distinct texts.
        vectors_ND: Embeddings of the texts, of unit length.
    """

    texts: Sequence[str]
    vectors_ND: np.ndarray

    device = "cpu"

    @cached_property
    def places(self) -> dict[str, int]:
        """Map each text to its row in `vectors_ND`."""
        return {text: place for place, text in enumerate(self.texts)}

    def encode_query(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        """Look up the embeddings of texts."""
        return self.vectors_ND[[self.places[text] for text in texts]]

    encode_document = encode_query

    def similarity(self, left_ND: Any, right_ND: Any) -> Tensor:
        """Compute the cosines of all pairs of rows."""
        return torch.as_tensor(left_ND) @ torch.as_tensor(right_ND).T

    def similarity_pairwise(self, left_ND: Any, right_ND: Any) -> Tensor:
        """Compute the cosines of corresponding rows."""
        return (torch.as_tensor(left_ND) * torch.as_tensor(right_ND)).sum(1)

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        """Compute the cosine of each text in `left` with the corresponding text in `right`."""
        parts = [np.empty(0, dtype=np.float32)]
        for begin in range(0, len(left), BLOCK):
            rows = slice(begin, begin + BLOCK)
            both = self.encode_query(left[rows]), self.encode_query(right[rows])
            parts.append(np.einsum("td,td->t", *both))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Triplets:
    """Triplets of anchor, positive and negative.

    Attributes:
        anchors: T texts.
        positives: T texts.
        negatives: T texts. A negative is never the anchor itself or one of its positives.
    """

    anchors: list[str]
    positives: list[str]
    negatives: list[str]

    def __len__(self) -> int:
        return len(self.anchors)

    def sample(self, most: int, *, seed: int) -> Triplets:
        """Sample at most `most` triplets without replacement, in their original order."""
        rows = sorted(random.Random(seed).sample(range(len(self)), min(most, len(self))))
        return Triplets(*([column[row] for row in rows] for column in self.columns().values()))

    def columns(self) -> dict[str, list[str]]:
        """Return the columns `anchor`, `positive` and `negative`."""
        return {"anchor": self.anchors, "positive": self.positives, "negative": self.negatives}


def sample_negatives(pairs: Sequence[Pair], num_negatives: int = 1, *, seed: int = 0) -> Triplets:
    """Draw random negatives from the positives of other pairs.

    Args:
        pairs: Pairs without duplicates, from `cleaned`.
        num_negatives: Maximum number of negatives per pair. There are fewer if the other pairs do
            not have as many distinct positives.
        seed: Seed of the random generator.

    Example:
        >>> sample_negatives([("a", "b"), ("c", "d")]).negatives
        ['d', 'b']
    """
    corpus = list(dict.fromkeys(positive for _, positive in pairs))
    row_of = {text: row for row, text in enumerate(corpus)}
    excluded: dict[str, set[int]] = {}
    for anchor, positive in pairs:
        rows = excluded.setdefault(anchor, {row_of[anchor]} if anchor in row_of else set())
        rows.add(row_of[positive])
    rng = np.random.default_rng(seed)
    triplets = []
    for anchor, positive in pairs:
        # Draw enough rows to have `num_negatives` left after removing the anchor's positives.
        num_drawn = min(len(corpus), num_negatives + len(excluded[anchor]))
        drawn = rng.choice(len(corpus), size=num_drawn, replace=False).tolist()
        others = [row for row in drawn if row not in excluded[anchor]][:num_negatives]
        triplets += [(anchor, positive, corpus[row]) for row in others]
    return _triplets(triplets)


def mine_negatives(
    pairs: Sequence[Pair], embeddings: PrecomputedEmbeddings, recipe: Recipe, *, seed: int = 0
) -> Triplets:
    """Choose negatives by their similarity to the anchor.

    Args:
        pairs: Pairs without duplicates, from `cleaned`.
        embeddings: Embeddings of all texts of the pairs.
        recipe: Rules for choosing negatives.
        seed: Seed for `sampling: random`.
    """
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    positives = {positive for _, positive in pairs}
    # An anchor may also be a candidate. As a positive of itself, it is never its own negative. This
    # does not affect the margins: they are relative to the least similar positive.
    selves = [(anchor, anchor) for anchor in dict.fromkeys(a for a, _ in pairs)]
    rows = [*pairs, *(pair for pair in selves if pair[0] in positives)]
    settings = {item.name: getattr(recipe, item.name) for item in fields(recipe)}
    settings["sampling_strategy"] = settings.pop("sampling")
    model: Any = embeddings
    # The miner's progress bar cannot be disabled, so its output is discarded.
    with _seeded(seed), redirect_stderr(io.StringIO()):
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
    """Seed Python's global random generator, which the miner uses, and restore it afterwards."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
