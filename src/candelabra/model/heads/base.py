"""Task heads: encoded texts -> logits -> predictions -> answers. Usable without Hydra or Lightning.

A head is constructed with `(width, labels)`. `forward` returns the logits for the loss, `decode`
the predicted ids for the metrics, and `describe` answers for people and programs.

Shapes: B examples, W words, D encoder width, C labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.losses.reduction import part_of_mean
from candelabra.records import Batch, Encoded, Examples

Pooling = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Function (logits, targets) -> loss summed over all labelled texts or words."""


CLASS_LOSSES = (
    "cross_entropy",
    "label_smoothing",
    "focal",
    "class_balanced",
    "logit_adjustment",
)
"""Names of the options of the config group `loss` for tasks with one label per text or word."""


class Head(nn.Module, ABC):
    """Base class of task heads on top of the encoder.

    Args:
        width: Width of a token embedding.
        labels: Label names; the position of a label is its id.

    Attributes:
        pools: Whether the head uses the sentence embedding.
        only_pools: Whether it uses nothing else of the encoder, so that stored sentence embeddings
            can replace it. A subclass does not inherit this.
        num_texts: Number of texts per example that the head takes; 0 for any number.
        alone: Whether the head can make a prediction for a single text.
        takes: Options of the config group `loss` that can train the head.
        shapes: Data shapes that the head can be trained on. Not checked if empty.
        mini_batch_size: Number of examples per forward pass of the encoder in training with
            gradient caching (see `EmbeddingHead`). `None` encodes the whole batch in one pass.
        kind: Kind of prediction, such as `classification`, for exports and model cards.
        formats: Export formats that can represent the head. A subclass does not inherit them,
            because it may compute something else.
        has_logits: Whether the head has an output besides the sentence embedding.
        constrained: Whether the predictions of a text depend on each other, so that they may differ
            from the best label of each word.
    """

    pools = True
    only_pools = False
    num_texts = 1
    alone = True
    takes: tuple[str, ...] = CLASS_LOSSES
    shapes: tuple[tuple[str, ...], ...] = ()
    mini_batch_size: int | None = None
    kind: str = "other"
    formats: tuple[str, ...] = ()
    has_logits = True
    constrained = False

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.formats = cls.__dict__.get("formats", ())
        cls.only_pools = cls.__dict__.get("only_pools", False)

    def __init__(self, width: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.width = width
        self.labels = list(labels)

    @abstractmethod
    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """Compute the logits of a batch.

        Args:
            encoded: One `Encoded` per text column of the task.
            pooling: Function (hidden_BLD, mask_BL) -> sentence_BD.
            first_BW: Position of the first piece of each word; -1 for removed words and padding.
                `None` for tasks without words.

        Returns:
            Logits whose first dimension is B; the head defines the others.
        """

    def export_logits(self, text: Encoded, pooling: Pooling) -> Tensor:
        """Compute the logits of an exported model for single texts.

        Args:
            text: The encoded texts.
            pooling: Function (hidden_BLD, mask_BL) -> sentence_BD.

        Returns:
            Logits (B, C), where C is 1 for a number; (B, L, C) for heads that label words, which
            use the logits at the first piece of each word.
        """
        logits = self((text,), pooling, None)
        return logits.unsqueeze(-1) if logits.dim() == 1 else logits

    def decoding(self) -> dict[str, Any]:
        """Return the settings that `decode` needs besides the logits, as JSON values."""
        return {}

    def linears(self) -> list[nn.Linear]:
        """Return the linear layers in the order in which they are applied."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)]

    def match_scores(self, logits: Tensor) -> Tensor:
        """Return how well the two texts of each pair match, (B): the probability of label 1."""
        return logits.float().softmax(dim=-1)[:, 1]

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return the summed loss of a batch.

        Heads whose loss needs more than logits and targets override this method.
        """
        return function(logits, batch.targets)

    @property
    def num_choices(self) -> int:
        """Number of classes that each term of the loss chooses from; 0 for regression."""
        return len(self.labels)

    def reads(self, batch: Batch) -> bool:
        """Return whether the head can be applied to a batch, possibly one of another task."""
        if self.num_texts not in (0, len(batch.texts)):
            return False
        return self.pools or batch.first_BW is not None

    def soft_answers(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the logits of the probabilities that a student learns from (`kl_to`).

        Heads whose choices depend on each other override this method.
        """
        return logits

    def fit_answers(self, answers: Tensor) -> Tensor:
        """Return the answers of a teacher's head of the same kind in the form of this head's own.

        Args:
            answers: Output of the teacher's `soft_answers` for N examples, (N, ...).
        """
        return answers

    def distillation_loss(
        self, logits: Tensor, reference: Tensor, batch: Batch, temperature: float
    ) -> Tensor:
        """Compute the divergence of the logits from reference logits, as for distillation.

        Args:
            logits: Output of `forward`, or of `soft_answers` for a teacher's answers.
            reference: Reference logits of the same kind for the same batch.
            batch: The batch. Padding and words removed by truncation are ignored.
            temperature: Divisor of both logits (Hinton et al. 2015).

        Returns:
            This batch's contribution to the mean over the examples of the optimizer step. For
            tagging heads an example's value is the mean over its words.
        """
        divergence = self.kl_to(logits.float(), reference.float(), temperature)
        if divergence.ndim > 1:
            assert batch.first_BW is not None
            kept_BW = batch.first_BW >= 0
            divergence = (divergence * kept_BW).sum(dim=-1) / kept_BW.sum(dim=-1).clamp(min=1)
        # A process without examples runs on a copy of one that another process counts.
        return part_of_mean(divergence.sum() * batch.counted, batch.num_examples)

    def kl_to(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """Compute `T^2 KL(reference || logits)` at temperature T (Hinton et al. 2015).

        Args:
            logits: Logits (B, C) or (B, W, C).
            reference: Reference logits of the same shape.
            temperature: T.

        Returns:
            Divergence of each text, (B), or word, (B, W), in nats.
        """
        answer, target = ((each / temperature).log_softmax(dim=-1) for each in (logits, reference))
        kl = F.kl_div(answer, target, log_target=True, reduction="none").sum(dim=-1)
        return kl * temperature**2

    def takes_of(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """Return the options of the config group `loss` that can train on data of this shape."""
        return self.takes

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raise ValueError if the loss cannot train this head on data of this shape.

        The default implementation calls the loss once on a dummy example.
        """
        function(*self.sample())

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return dummy logits and targets of one text or word, in the shapes that the loss gets."""
        return torch.zeros(1, len(self.labels)), torch.zeros(1, dtype=torch.long)

    @abstractmethod
    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the prediction of each text or word: label ids of shape (B) or (B, W)."""

    def predictions(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return what the metrics compare with the labels of a batch: as a rule, `decode`."""
        return self.decode(logits, batch.first_BW)

    @abstractmethod
    def describe(self, logits: Tensor, first_BW: Tensor | None, examples: Examples) -> list[Any]:
        """Return the prediction for each example as values that JSON can represent."""

    @abstractmethod
    def describe_labels(self, examples: Examples) -> list[Any]:
        """Return the gold labels of the examples in a form comparable to `describe`."""


class PooledHead(Head):
    """Base class of heads with dropout and a linear layer over the sentence embedding.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        num_outputs: Number of logits, 1 or more.
        dropout: Dropout probability on the sentence embedding.
    """

    def __init__(
        self, width: int, labels: Sequence[str], *, num_outputs: int, dropout: float
    ) -> None:
        super().__init__(width, labels)
        if num_outputs < 1:
            raise ValueError("labels must name one label or more, found none")
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """Compute logits_BC from the pooled text."""
        (text,) = encoded
        return self.classifier(pooling(text.hidden_BLD, text.mask_BL))


def through_dense(classifier: nn.Sequential, width: int, *, dropout: float) -> nn.Sequential:
    """Return the classifier with dropout, a linear layer and tanh in front of it."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width), nn.Tanh(), *classifier)
