"""Task heads: encoded texts -> logits -> predictions -> answers. Usable without Hydra or Lightning.

A head is built with `(width, labels)` and does four things: `forward` gives logits for the loss,
`decode` the predicted ids for the metrics, `describe` what a person or a program reads.

Shapes: B examples, W words, D encoder width, C labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.data.bio import OUTSIDE
from candelabra.data.tokens import WordSpans
from candelabra.model.encoder import first_pieces
from candelabra.model.viterbi import bio_constraints, viterbi
from candelabra.records import IGNORED, Batch, Encoded, Examples

Pooling = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, targets) -> the sum over the counted units."""


class Head(nn.Module, ABC):
    """What a task adds to the encoder.

    Args:
        width: Width of a token embedding.
        labels: Label names; a label's position is its id.

    Attributes:
        pools: Whether it reads the sentence embedding.
        learns: The role of the column that it learns from; None is not checked.
    """

    pools = True
    learns: str | None = None

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

    def check(self, function: Loss) -> None:
        """Raises ValueError where a loss cannot train this head; it is tried on one unit."""
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

    learns = "label"

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


class TaggingHead(Head):
    """One BIO tag for each word, from its first piece: dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Tag names, `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout on the token embeddings.
        constrained: At inference, the best valid BIO sequence (Viterbi) instead of each word's
            best tag. No training is involved.
    """

    pools = False
    learns = "tags"
    start_C: Tensor
    transition_CC: Tensor

    def __init__(
        self, width: int, labels: Sequence[str], *, dropout: float = 0.1, constrained: bool = True
    ) -> None:
        super().__init__(width, labels)
        if OUTSIDE not in self.labels:
            raise ValueError(f"a tagging head needs the label {OUTSIDE!r}, got {self.labels}")
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(self.labels)))
        self.outside = self.labels.index(OUTSIDE)
        start_C, transition_CC = bio_constraints(self.labels)
        if not constrained:
            start_C, transition_CC = torch.ones_like(start_C), torch.ones_like(transition_CC)
        self.register_buffer("start_C", start_C, persistent=False)
        self.register_buffer("transition_CC", transition_CC, persistent=False)

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """logits_BWC of every word; those of cut words and padding mean nothing."""
        (text,) = encoded
        assert first_BW is not None, "a tagging task needs words"
        return self.classifier(first_pieces(text, first_BW))

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """tags_BW; words cut by truncation and trailing padding are `O`."""
        return self._best(logits.float().log_softmax(dim=-1), first_BW)

    def probabilities(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Of each tag at each word, (B, W, C), in float32; answers are scored by them."""
        return logits.float().softmax(dim=-1)

    def _best(
        self,
        scores_BWC: Tensor,
        first_BW: Tensor | None,
        *,
        steps_CC: Tensor | None = None,
        linked_BW: Tensor | None = None,
    ) -> Tensor:
        assert first_BW is not None
        cut_BW = first_BW < 0
        lowest = torch.finfo(scores_BWC.dtype).min / 1e6
        outside_C = scores_BWC.new_full((len(self.labels),), lowest)
        outside_C[self.outside] = 0.0
        scores_BWC = torch.where(cut_BW[..., None], outside_C, scores_BWC)
        every_BW = torch.ones_like(cut_BW)
        return viterbi(
            scores_BWC,
            every_BW,
            self.start_C,
            self.transition_CC,
            steps_CC=steps_CC,
            linked_BW=linked_BW,
        )

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[list[dict[str, Any]]]:
        """Spans with `text`, `type`, `score` (mean probability of their tags), `start`, `end`."""
        tags_BW = self.decode(logits, first_BW)
        chosen_BW = self.probabilities(logits, first_BW).gather(-1, tags_BW[..., None])[..., 0]
        rows = zip(
            examples.texts[0], _words(examples), tags_BW.tolist(), chosen_BW.tolist(), strict=True
        )
        return [
            spans(text, words, [self.labels[tag] for tag in tags[: len(words)]], scores)
            for text, words, tags, scores in rows
        ]

    def describe_labels(self, examples: Examples) -> list[list[dict[str, Any]]]:
        """Spans with `text`, `type`, `start`, `end`."""
        rows = zip(examples.texts[0], _words(examples), examples.labels, strict=True)
        return [spans(text, words, list(map(self._name, tags))) for text, words, tags in rows]

    def _name(self, tag: int) -> str:
        return OUTSIDE if tag == IGNORED else self.labels[tag]


class TaggingMlpHead(TaggingHead):
    """One BIO tag for each word through a dense layer: dropout, dense, tanh, dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Tag names, `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout before each of the two layers.
        constrained: As in `TaggingHead`.
    """

    def __init__(
        self, width: int, labels: Sequence[str], *, dropout: float = 0.1, constrained: bool = True
    ) -> None:
        super().__init__(width, labels, dropout=dropout, constrained=constrained)
        self.classifier = through_dense(self.classifier, width, dropout=dropout)


def _words(examples: Examples) -> list[list[tuple[int, int]]]:
    assert examples.words is not None, "a tagging task needs words"
    return examples.words


def spans(
    text: str, words: WordSpans, tags: Sequence[str], scores: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Tagged words -> spans, read as seqeval's default mode does (an I- may open a span)."""
    from seqeval.metrics.sequence_labeling import get_entities

    found = []
    for kind, first, last in get_entities(list(tags)):
        start, end = words[first][0], words[last][1]
        mean = {} if scores is None else {"score": fmean(scores[first : last + 1])}
        span = {"text": text[start:end], "type": kind, **mean, "start": start, "end": end}
        found.append(span)
    return found
