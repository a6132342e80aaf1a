"""Corpora of random vectors, and a small embedder for typed texts."""

from __future__ import annotations

import numpy as np

from candelabra.search.exact import Corpus

TEXTS = [
    "a dull film",
    "a fine film",
    "what 1995 romantic comedy starred michael douglas",
    "the plot is as long as ever",
    "a fine film",
    "cats sleep",
]


def unit(rows: int, width: int = 16, *, seed: int = 0) -> np.ndarray:
    """Random vectors of unit length."""
    vectors_ND = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def numbered(rows: int, width: int = 16, *, seed: int = 0) -> Corpus:
    """A corpus whose texts are their row numbers."""
    return Corpus([f"text {row}" for row in range(rows)], unit(rows, width, seed=seed))
