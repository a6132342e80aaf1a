"""A head for texts of which several labels, or none, may hold.

Shapes: B examples, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.model.heads import PooledHead
from candelabra.records import Examples


class MultiLabelHead(PooledHead):
    """Any number of labels for a text, each by itself: dropout, linear, sigmoid.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout on the sentence embedding.
        threshold: A label holds where its probability is above this.

    Raises:
        ValueError: `threshold` is not between 0 and 1.
    """

    shapes = (("text", "labels"),)
    takes = ("binary_cross_entropy",)

    def __init__(
        self, width: int, labels: Sequence[str], *, dropout: float = 0.1, threshold: float = 0.5
    ) -> None:
        super().__init__(width, labels, num_outputs=len(labels), dropout=dropout)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1; found {threshold}")
        self.threshold = threshold

    def sample(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of one unit, (1, C)."""
        shape = (1, len(self.labels))
        return torch.zeros(shape), torch.zeros(shape, dtype=torch.long)

    @property
    def num_choices(self) -> int:
        """2: each label holds or does not."""
        return 2

    def apart(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """`T^2 KL` of each label's two sides at temperature T, meaned over the labels: (B)."""
        kl = torch.zeros_like(logits)
        for side in (1, -1):
            answer, wanted = (
                F.logsigmoid(side * each / temperature) for each in (logits, reference)
            )
            kl = kl + wanted.exp() * (wanted - answer)
        return kl.mean(dim=-1) * temperature**2

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """1 for each label that holds, else 0, (B, C)."""
        return (logits.float().sigmoid() > self.threshold).long()

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any]]:
        """`labels`, those that hold, and the `probabilities` of all."""
        rows = zip(logits.float().sigmoid().tolist(), self.decode(logits).tolist(), strict=True)
        return [
            {
                "labels": self._names(holds),
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row, holds in rows
        ]

    def describe_labels(self, examples: Examples) -> list[list[str]]:
        """Names of the labels that are known to hold."""
        return [self._names(holds) for holds in examples.labels]

    def _names(self, holds: Sequence[int]) -> list[str]:
        return [name for name, one in zip(self.labels, holds, strict=True) if one == 1]
