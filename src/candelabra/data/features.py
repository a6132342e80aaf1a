"""Stored features of a split, which replace what the frozen part of the encoder would compute.

Shapes: B examples, L token positions, D encoder width, N examples of the split, T tokens of all of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Usable(Protocol):
    """Part of the encoder that features replace.

    Attributes:
        live: Whether its weights are still those that the features were computed with.
    """

    live: bool


@dataclass(frozen=True)
class TextFeatures:
    """Features of the texts of one column.

    Attributes:
        values: Memory-mapped features of all tokens (T, D) in the order of the texts, or one vector
            for each text (N, D).
        starts: Index of the first token of each text, and at the end their number (N + 1); `None`
            if each text has one vector.
        dtype: Type in which the encoder gives them.
    """

    values: np.ndarray
    starts: np.ndarray | None
    dtype: torch.dtype

    def batch(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return the features of some texts: (B, L, D) with zeros at padding, or (B, 1, D)."""
        if self.starts is None:
            vectors_BD = torch.from_numpy(self.values[np.asarray(indices)])
            return vectors_BD.to(self.dtype).unsqueeze(1)
        begins, ends = self.starts[np.asarray(indices)], self.starts[np.asarray(indices) + 1]
        shape = (len(begins), int((ends - begins).max()), self.values.shape[1])
        padded_BLD = np.zeros(shape, dtype=self.values.dtype)
        for line, begin, end in zip(padded_BLD, begins, ends, strict=True):
            line[: end - begin] = self.values[begin:end]
        return torch.from_numpy(padded_BLD).to(self.dtype)


@dataclass(frozen=True)
class SplitFeatures:
    """Features of all text columns of a split.

    Attributes:
        columns: Features of each column.
        source: Part of the encoder that they were computed with.
    """

    columns: tuple[TextFeatures, ...]
    source: Usable

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor | None, ...]:
        """Return the features of some examples for each column, or `None` if they are outdated."""
        return tuple(column.batch(indices) if self.source.live else None for column in self.columns)
