"""Task heads: encoded texts -> logits -> predictions -> answers. Usable without Hydra or Lightning.

A head is built with `(width, labels)` and does four things: `forward` gives logits for the loss,
`decode` the predicted ids for the metrics, `describe` what a person or a program reads.

Shapes: B examples, W words, D encoder width, C labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.data.shapes import TEXT_WITH_LABEL
from candelabra.records import Batch, Encoded, Examples

Pooling = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, targets) -> the sum over the counted units."""


CLASS_LOSSES = (
    "cross_entropy",
    "label_smoothing",
    "focal",
    "class_balanced",
    "logit_adjustment",
)
"""Losses of one label, by their options' names."""


class Head(nn.Module, ABC):
    """What a task adds to the encoder.

    Args:
        width: Width of a token embedding.
        labels: Label names; a label's position is its id.

    Attributes:
        pools: Whether it reads the sentence embedding.
        num_texts: How many texts of an example it reads; 0: any number.
        alone: Whether it says something of a single text that somebody typed.
        takes: The options of the loss group that can train it.
        shapes: The shapes of data that it learns from; none are not checked.
        part_size: Texts in a pass of the encoder while it learns, of which only the embeddings are
            kept; None: all at once.
    """

    pools = True
    num_texts = 1
    alone = True
    takes: tuple[str, ...] = CLASS_LOSSES
    shapes: tuple[tuple[str, ...], ...] = ()
    part_size: int | None = None

    def __init__(self, width: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.width = width
        self.labels = list(labels)

    @abstractmethod
    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """Logits of a batch.

        Args:
            encoded: One `Encoded` for each text column of the task.
            pooling: (hidden_BLD, mask_BL) -> sentence_BD.
            first_BW: Position of each word's first piece, -1 where there is none.
        """

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """The task's loss over a batch; a head whose own parameters enter it overrides this."""
        return function(logits, batch.targets)

    @property
    def num_choices(self) -> int:
        """How many answers a unit of its loss has to choose from; 0 for a number."""
        return len(self.labels)

    def reads(self, batch: Batch) -> bool:
        """Whether it can answer the texts of a batch, also of another task's."""
        if self.num_texts not in (0, len(batch.texts)):
            return False
        return self.pools or batch.first_BW is not None

    def divergence(
        self, logits: Tensor, reference: Tensor, batch: Batch, temperature: float
    ) -> Tensor:
        """How far an answer is from a reference.

        Args:
            logits: As `forward` gives them.
            reference: Other logits for the same batch.
            batch: What they answer; padding and cut words do not count.
            temperature: Both logits are divided by it (Hinton et al. 2015).

        Returns:
            This batch's part of the mean over the examples of the optimizer step; over words, the
            mean of each example's.
        """
        apart = self.apart(logits.float(), reference.float(), temperature)
        if apart.ndim > 1:
            assert batch.first_BW is not None
            read_BW = batch.first_BW >= 0
            apart = (apart * read_BW).sum(dim=-1) / read_BW.sum(dim=-1).clamp(min=1)
        # A process without examples answers one that another counts.
        return apart.sum() * batch.counted / batch.num_examples

    def apart(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """`T^2 KL(reference || logits)` at temperature T, of each text or word: (B) or (B, W)."""
        answer, wanted = ((each / temperature).log_softmax(dim=-1) for each in (logits, reference))
        kl = F.kl_div(answer, wanted, log_target=True, reduction="none").sum(dim=-1)
        return kl * temperature**2

    def takes_of(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """The options of the loss group that can train it on data of a shape."""
        return self.takes

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raises ValueError where a loss cannot train this head on data of a shape.

        It is tried on one unit.
        """
        function(*self.sample())

    def sample(self) -> tuple[Tensor, Tensor]:
        """Logits and targets of one unit, in the form that the loss is to get."""
        return torch.zeros(1, len(self.labels)), torch.zeros(1, dtype=torch.long)

    @abstractmethod
    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Predicted label ids: (B), or (B, W)."""

    @abstractmethod
    def describe(self, logits: Tensor, first_BW: Tensor | None, examples: Examples) -> list[Any]:
        """The answer for each example, as plain values that go into JSON."""

    @abstractmethod
    def describe_labels(self, examples: Examples) -> list[Any]:
        """The examples' own labels in the form of the answers."""


class PooledHead(Head):
    """What heads over the sentence embedding share: dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        num_outputs: Width of the logits.
        dropout: Dropout on the sentence embedding.
    """

    def __init__(
        self, width: int, labels: Sequence[str], *, num_outputs: int, dropout: float
    ) -> None:
        super().__init__(width, labels)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """logits_BC from the pooled first text."""
        (text,) = encoded
        return self.classifier(pooling(text.hidden_BLD, text.mask_BL))


class ClassificationHead(PooledHead):
    """One label for a text: dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout on the sentence embedding.
    """

    shapes: tuple[tuple[str, ...], ...] = (TEXT_WITH_LABEL,)

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, num_outputs=len(labels), dropout=dropout)

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """The most probable label's id, (B)."""
        return logits.argmax(dim=-1)

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any]]:
        """`label`, its `score`, and the `probabilities` of all labels."""
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
        """Label names."""
        return [self.labels[label] for label in examples.labels]


class MlpHead(ClassificationHead):
    """One label for a text through a dense layer, as transformers' own heads on [CLS] do.

    Dropout, dense, tanh, dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout before each of the two layers.
    """

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float = 0.1) -> None:
        super().__init__(width, labels, dropout=dropout)
        self.classifier = through_dense(self.classifier, width, dropout=dropout)


def through_dense(classifier: nn.Sequential, width: int, *, dropout: float) -> nn.Sequential:
    """A classifier with dropout, a dense layer and tanh before it."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width), nn.Tanh(), *classifier)
