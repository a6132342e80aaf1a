"""Head for texts with any number of labels.

Shapes: B examples, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from candelabra.model.heads.base import PooledHead
from candelabra.records import Examples


class MultiLabelHead(PooledHead):
    """Head that predicts each label independently with dropout, a linear layer and a sigmoid.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout probability on the sentence embedding.
        threshold: Probability above which a label is predicted.

    Raises:
        ValueError: If `threshold` is not between 0 and 1.
    """

    shapes = (("text", "labels"),)
    takes = ("binary_cross_entropy",)
    only_pools = True
    kind = "multilabel"
    formats = ("transformers", "onnx")

    def __init__(
        self, width: int, labels: Sequence[str], *, dropout: float = 0.1, threshold: float = 0.5
    ) -> None:
        super().__init__(width, labels, num_outputs=len(labels), dropout=dropout)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1; found {threshold}")
        self.threshold = threshold

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return dummy logits and targets of one text, (1, C)."""
        shape = (1, len(self.labels))
        return torch.zeros(shape), torch.zeros(shape, dtype=torch.long)

    def decoding(self) -> dict[str, float]:
        """Return the `threshold` of the probabilities."""
        return {"threshold": self.threshold}

    @property
    def num_choices(self) -> int:
        """Always 2, because each label is a binary decision."""
        return 2

    def kl_to(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """Compute `T^2 KL(reference || logits)` of each label's Bernoulli distribution.

        Args:
            logits: Logits (B, C).
            reference: Reference logits (B, C).
            temperature: Temperature T, which divides both logits.

        Returns:
            Mean over the labels, (B), in nats.
        """
        # The sigmoid of x is the softmax of x and 0.
        ours_BC2, theirs_BC2 = (
            torch.stack([each, torch.zeros_like(each)], dim=-1) for each in (logits, reference)
        )
        return super().kl_to(ours_BC2, theirs_BC2, temperature).mean(dim=-1)

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """Return 1 for each predicted label and 0 for the others, (B, C)."""
        return (logits.float().sigmoid() > self.threshold).long()

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any]]:
        """Return the predicted `labels` and the `probabilities` of all labels."""
        rows = zip(logits.float().sigmoid().tolist(), self.decode(logits).tolist(), strict=True)
        return [
            {
                "labels": self._names(present),
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row, present in rows
        ]

    def describe_labels(self, examples: Examples) -> list[list[str]]:
        """Return the names of the gold labels; unknown labels are left out."""
        return [self._names(present) for present in examples.labels]

    def _names(self, present: Sequence[int]) -> list[str]:
        return [name for name, value in zip(self.labels, present, strict=True) if value == 1]
