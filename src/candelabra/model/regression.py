"""A head that gives a number.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from candelabra.model.heads import PooledHead, Pooling
from candelabra.records import Encoded, Examples


class RegressionHead(PooledHead):
    """A number for a text: dropout, linear. Numbers around 0 to 1 are learnt fastest.

    Args:
        width: Width of a token embedding.
        labels: None: numbers have no names.
        dropout: Dropout on the sentence embedding.

    Raises:
        ValueError: There are labels.
    """

    shapes = (("text", "number"),)
    takes = ("squared_error",)

    def __init__(self, width: int, labels: Sequence[str] = (), *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, num_outputs=1, dropout=dropout)
        if self.labels:
            raise ValueError(f"a regression head has no labels; found {self.labels}")

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """The numbers, (B)."""
        return super().forward(encoded, pooling, first_BW).squeeze(-1)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of one unit, (1)."""
        return torch.zeros(1), torch.zeros(1)

    def apart(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """The squared difference, (B); no temperature softens a number."""
        return (logits - reference).square()

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """The numbers themselves, (B), in float32."""
        return logits.float()

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, float]]:
        """`number`."""
        return [{"number": number} for number in self.decode(logits).tolist()]

    def describe_labels(self, examples: Examples) -> list[float]:
        """The right numbers."""
        return list(examples.labels)
