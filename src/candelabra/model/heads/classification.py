"""Heads for one label of a text: a linear layer, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from candelabra.data.rows.shapes import TEXT_WITH_LABEL
from candelabra.model.heads.base import PooledHead, through_dense
from candelabra.records import Examples


class ClassificationHead(PooledHead):
    """Head that predicts one label per text with dropout and a linear layer.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout probability on the sentence embedding.
    """

    shapes: tuple[tuple[str, ...], ...] = (TEXT_WITH_LABEL,)
    only_pools = True
    kind = "classification"
    formats = ("transformers", "onnx")

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, num_outputs=len(labels), dropout=dropout)

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """Return the id of the most probable label, (B)."""
        return logits.argmax(dim=-1)

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any]]:
        """Return `label`, its probability `score`, and the `probabilities` of all labels."""
        answers = []
        for row in logits.float().softmax(dim=-1).tolist():
            best = max(range(len(row)), key=row.__getitem__)
            answers.append(
                {
                    "label": self.labels[best],
                    "score": row[best],
                    "probabilities": dict(zip(self.labels, row, strict=True)),
                }
            )
        return answers

    def describe_labels(self, examples: Examples) -> list[str]:
        """Return the gold label names."""
        return [self.labels[label] for label in examples.labels]


class MlpHead(ClassificationHead):
    """Head that predicts one label per text with a hidden layer, like the heads of transformers.

    The layers are dropout, linear, tanh, dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout probability before each of the two linear layers.
    """

    only_pools = True
    formats = ("transformers", "onnx")

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, dropout=dropout)
        self.classifier = through_dense(self.classifier, width, dropout=dropout)
