"""Precision, recall and F1 of entities.

seqeval extracts the spans. They are counted here, because counts can be summed over processes.

Shapes: B examples, W words, T entity types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from candelabra.data.bio import OUTSIDE, parse_tag
from candelabra.records import IGNORED

Span = tuple[str, int, int]
"""Entity type, index of the first tag, and index of the last tag."""


def default_spans(tags: list[str]) -> set[Span]:
    """Return the spans of seqeval's default mode (conlleval).

    In this mode, an I-X tag without a preceding B-X also starts a span.

    Example:
        >>> default_spans(["I-PER", "I-PER", "O"])
        {('PER', 0, 1)}
    """
    # seqeval imports scikit-learn, which only tagging should wait for.
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(tags))


def strict_spans(spans: set[Span], tags: list[str]) -> set[Span]:
    """Select the spans of seqeval's strict mode with the IOB2 scheme.

    These are the default mode's spans that start with a B-X tag. Selecting them is 15 times as fast
    as seqeval's own implementation.

    Args:
        spans: Spans of the default mode.
        tags: The tags that `spans` were extracted from.

    Example:
        >>> strict_spans({("PER", 0, 1)}, ["I-PER", "I-PER", "O"])
        set()
    """
    return {span for span in spans if parse_tag(tags[span[1]])[0] == "B"}


class SpanMetrics(Metric):
    """Precision, recall and F1 of entities, which are correct only if span and type are.

    In seqeval's default mode: `f1`, `precision` and `recall` (micro averages), `f1_macro` (mean
    over the types that occur or were predicted), and for each type X `f1/X`, `precision/X`,
    `recall/X` and `support/X`, the number of gold spans. In the strict mode with IOB2: `f1_strict`,
    `precision_strict` and `recall_strict`. A score with denominator 0 is 0.

    Args:
        labels: BIO tags in the order of their ids.

    Raises:
        ValueError: A label is not a BIO tag, or there is no entity type.

    Example:
        >>> import torch
        >>> metrics = SpanMetrics(["O", "B-Year", "I-Year"])
        >>> metrics.update(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 2]]))
        >>> float(metrics.compute()["f1"])
        1.0
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    default: Tensor
    strict: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = list(labels)
        self.types = sorted({parse_tag(label)[1] for label in labels} - {""})
        if not self.types:
            raise ValueError(f"span metrics need labels with an entity type; found {self.labels}")
        # Rows: correct, predicted and gold spans; a column for each type.
        for mode in ("default", "strict"):
            zeros = torch.zeros(3, len(self.types), dtype=torch.long)
            self.add_state(mode, zeros, dist_reduce_fx="sum")

    def update(self, tags_BW: Tensor, labels_BW: Tensor) -> None:
        """Count the spans of a batch.

        Args:
            tags_BW: Predicted tag ids. Values at padding are ignored.
            labels_BW: Gold tag ids; `IGNORED` (-100) marks padding.

        Raises:
            ValueError: The shapes differ, or a word's tag is not a valid id.
        """
        if tags_BW.shape != labels_BW.shape:
            raise ValueError(
                "tags and labels must have one shape; found "
                f"{tuple(tags_BW.shape)} and {tuple(labels_BW.shape)}"
            )
        gold_BW = labels_BW.cpu()
        words_BW = gold_BW != IGNORED
        predicted = self._names(tags_BW.cpu(), words_BW)
        gold = self._names(gold_BW, words_BW)
        spans, gold_spans = default_spans(predicted), default_spans(gold)
        self.default += self._count(spans, gold_spans)
        self.strict += self._count(strict_spans(spans, predicted), strict_spans(gold_spans, gold))

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores, scalars from 0 to 1, and the supports."""
        typed = _scores(self.default)
        # As in seqeval, types that are neither predicted nor gold are left out of the macro mean.
        met_T = self.default[1:].sum(0) > 0
        scores = _scores(self.default.sum(1))
        scores |= {f"{name}_strict": each for name, each in _scores(self.strict.sum(1)).items()}
        scores["f1_macro"] = _ratio(typed["f1"].sum(), met_T.sum())
        for name, each_T in {**typed, "support": self.default[2]}.items():
            scores |= {f"{name}/{t}": one for t, one in zip(self.types, each_T, strict=True)}
        return scores

    def _names(self, ids_BW: Tensor, words_BW: Tensor) -> list[str]:
        """Return the tags of all texts in one list, with an O after each text to end its spans."""
        found = ids_BW[words_BW]
        if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < len(self.labels):
            raise ValueError(
                f"a word's tag must be an id from 0 to {len(self.labels) - 1}; found ids from "
                f"{int(found.min())} to {int(found.max())}"
            )
        ids = iter(found.tolist())
        names: list[str] = []
        for num_words in words_BW.sum(1).tolist():
            names += [self.labels[next(ids)] for _ in range(num_words)]
            names.append(OUTSIDE)
        return names

    def _count(self, spans: set[Span], gold_spans: set[Span]) -> Tensor:
        """Count the correct, predicted and gold spans of each type, (3, T)."""
        kinds = [_by_type(each) for each in (spans & gold_spans, spans, gold_spans)]
        counts = [[kind[entity] for entity in self.types] for kind in kinds]
        return torch.tensor(counts, device=self.device)


def _by_type(spans: Iterable[Span]) -> Counter[str]:
    return Counter(entity for entity, _, _ in spans)


def _scores(counts: Tensor) -> dict[str, Tensor]:
    """Compute F1, precision and recall from (correct, predicted, gold) along the first axis."""
    correct, predicted, gold = counts
    return {
        "f1": _ratio(2 * correct, predicted + gold),
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, gold),
    }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide counts, with 0 / 0 = 0."""
    return part / whole.clamp(min=1)
