"""Head that predicts a number.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from candelabra.model.heads.base import PooledHead, Pooling
from candelabra.records import Encoded, Examples


class RegressionHead(PooledHead):
    """Head that predicts one number per text with dropout and a linear layer.

    Targets of the order of 0 to 1 are learned fastest.

    Args:
        width: Width of a token embedding.
        labels: Must be empty, because numbers have no label names.
        dropout: Dropout probability on the sentence embedding.

    Raises:
        ValueError: If `labels` is not empty.
    """

    shapes = (("text", "number"),)
    takes = ("squared_error",)
    only_pools = True
    kind = "regression"
    formats = ("transformers", "onnx")

    def __init__(self, width: int, labels: Sequence[str] = (), *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, num_outputs=1, dropout=dropout)
        if self.labels:
            raise ValueError(f"a regression head has no labels; found {self.labels}")

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """Compute the predicted numbers, (B)."""
        (text,) = encoded
        dropout, linear = self.classifier
        assert isinstance(linear, nn.Linear)
        x_BD = dropout(pooling(text.hidden_BLD, text.mask_BL))
        wide = torch.promote_types(x_BD.dtype, torch.float32)
        # Autocast would round the numbers of a linear layer to the 8 bits of bfloat16.
        return (x_BD.to(wide) * linear.weight[0].to(wide)).sum(-1) + linear.bias[0].to(wide)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return dummy logits and targets of one text, (1)."""
        return torch.zeros(1), torch.zeros(1)

    def match_scores(self, logits: Tensor) -> Tensor:
        """Return the predicted numbers in float32, (B)."""
        return logits.float()

    def kl_to(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """Return the squared difference, (B); the temperature does not apply to numbers."""
        return (logits - reference).square()

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """Return the predicted numbers in float32, (B)."""
        return logits.float()

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, float]]:
        """Return the predicted `number` of each example."""
        return [{"number": number} for number in self.decode(logits).tolist()]

    def describe_labels(self, examples: Examples) -> list[float]:
        """Return the gold numbers."""
        return list(examples.labels)
