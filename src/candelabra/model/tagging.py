"""Heads that tag words: a BIO tag for each, and spans as answers.

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
from candelabra.model.heads import Head, Pooling, through_dense
from candelabra.model.viterbi import bio_constraints, viterbi
from candelabra.records import IGNORED, Encoded, Examples


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
    shapes = (("words", "tags"),)
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
