"""Heads that tag words with BIO tags and return the tagged spans.

Shapes: B examples, W words, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from candelabra.data.bio import OUTSIDE
from candelabra.data.tokens import WordSpans
from candelabra.model.encoder import first_pieces
from candelabra.model.heads.base import Head, Pooling, through_dense
from candelabra.model.heads.viterbi import FORBIDDEN, bio_constraints, viterbi
from candelabra.records import IGNORED, Encoded, Examples


class TaggingHead(Head):
    """Head that predicts one BIO tag per word with dropout and a linear layer.

    The input for a word is the token embedding of its first piece.

    Args:
        width: Width of a token embedding.
        labels: Tag names `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout probability on the token embeddings.
        constrained: Whether to predict the best valid BIO sequence (Viterbi) instead of the best
            tag of each word. Training is not affected.

    Raises:
        ValueError: If a label is not a BIO tag or `O` is missing.
    """

    pools = False
    shapes = (("words", "tags"),)
    kind = "tagging"
    formats: tuple[str, ...] = ("transformers", "onnx")
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
        self.constrained = constrained
        if not constrained:
            start_C, transition_CC = torch.ones_like(start_C), torch.ones_like(transition_CC)
        self.register_buffer("start_C", start_C, persistent=False)
        self.register_buffer("transition_CC", transition_CC, persistent=False)

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """Compute logits_BWC; those of removed words and padding are meaningless."""
        (text,) = encoded
        assert first_BW is not None, "a tagging task needs words"
        return self.classifier(first_pieces(text, first_BW))

    def export_logits(self, text: Encoded, pooling: Pooling) -> Tensor:
        """Compute logits_BLC at every token."""
        return self.classifier(text.hidden_BLD)

    def decoding(self) -> dict[str, Any]:
        """Return the scores of first tags, transitions and last tags.

        The sequence with the largest total score is the prediction.
        """
        start_C, steps_CC, end_C = self.sequence_scores()
        scores = {"start": start_C, "steps": steps_CC, "end": end_C}
        return {"decoding": {name: tensor.tolist() for name, tensor in scores.items()}}

    def sequence_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of first tags (C), transitions (C, C), and last tags (C)."""
        start_C, steps_CC = (
            torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed.bool(), FORBIDDEN)
            for allowed in (self.start_C, self.transition_CC)
        )
        return start_C, steps_CC, torch.zeros_like(start_C)

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the predicted tags_BW; removed words and padding get the id of `O`."""
        return self._best(logits.float().log_softmax(dim=-1), first_BW)

    def probabilities(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the probability of each tag at each word in float32, (B, W, C)."""
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
        removed_BW = first_BW < 0
        lowest = torch.finfo(scores_BWC.dtype).min / 1e6
        outside_C = scores_BWC.new_full((len(self.labels),), lowest)
        outside_C[self.outside] = 0.0
        scores_BWC = torch.where(removed_BW[..., None], outside_C, scores_BWC)
        full_mask_BW = torch.ones_like(removed_BW)
        return viterbi(
            scores_BWC,
            full_mask_BW,
            self.start_C,
            self.transition_CC,
            steps_CC=steps_CC,
            linked_BW=linked_BW,
        )

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[list[dict[str, Any]]]:
        """Return the predicted spans of each example.

        Returns:
            For each example a list of spans with `text`, `type`, `score` (mean probability of the
            span's tags), and the character offsets `start` and `end`.
        """
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
        """Return the gold spans with `text`, `type` and the character offsets `start` and `end`."""
        rows = zip(examples.texts[0], _words(examples), examples.labels, strict=True)
        return [spans(text, words, list(map(self._name, tags))) for text, words, tags in rows]

    def _name(self, tag: int) -> str:
        return OUTSIDE if tag == IGNORED else self.labels[tag]


class TaggingMlpHead(TaggingHead):
    """Head that predicts one BIO tag per word with a hidden layer.

    The layers are dropout, linear, tanh, dropout, linear.

    Args:
        width: Width of a token embedding.
        labels: Tag names `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout probability before each of the two linear layers.
        constrained: As in `TaggingHead`.
    """

    formats = ("onnx",)

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
    """Convert BIO tags to spans like seqeval's default mode, where an `I-` tag may start a span.

    Args:
        text: The text.
        words: Character offsets (start, end) of its words.
        tags: Tag of each word.
        scores: Probability of each word's tag.

    Returns:
        Spans with `text`, `type`, `score` (mean over the words, only if `scores` is given), and
        the character offsets `start` and `end`.

    Example:
        >>> spans("in New York", [(0, 2), (3, 6), (7, 11)], ["O", "B-LOC", "I-LOC"])
        [{'text': 'New York', 'type': 'LOC', 'start': 3, 'end': 11}]
    """
    from seqeval.metrics.sequence_labeling import get_entities

    entities = []
    for kind, first, last in get_entities(list(tags)):
        start, end = words[first][0], words[last][1]
        mean = {} if scores is None else {"score": fmean(scores[first : last + 1])}
        span = {"text": text[start:end], "type": kind, **mean, "start": start, "end": end}
        entities.append(span)
    return entities
