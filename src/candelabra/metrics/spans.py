"""Entity scores: seqeval finds the spans, we count them, and counts add up over processes.

Shapes: B examples, W words, T entity types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor
from torchmetrics import Metric

from candelabra.data.bio import OUTSIDE, parse_tag
from candelabra.records import IGNORED

Span = tuple[str, int, int]
"""Entity type, and where it starts and ends in the row of tags."""


def default_spans(tags: list[str]) -> set[Span]:
    """The spans of seqeval's default mode (conlleval): an I-X without a B-X opens one too."""
    return set(get_entities(tags))


def strict_spans(spans: set[Span], tags: list[str]) -> set[Span]:
    """Those of the default mode's spans that seqeval's strict mode with IOB2 finds too.

    They are the ones that start with B-X; seqeval's own classes for it take 15 times as long.
    """
    return {span for span in spans if parse_tag(tags[span[1]])[0] == "B"}


class SpanMetrics(Metric):
    """Precision, recall and F1 of whole entities.

    Default mode is the headline: `f1`, `precision`, `recall` (micro), `f1_macro` (mean over the
    types that occur or were predicted), and for each type X `f1/X`, `precision/X`, `recall/X` and
    `support/X`, the number of gold spans. Strict IOB2 mode stands beside it: `f1_strict`,
    `precision_strict`, `recall_strict`. A ratio of nothing to nothing is 0.

    Args:
        labels: The BIO tags in the order of their ids.

    Raises:
        ValueError: A label is no BIO tag, or there is no entity type.
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
            tags_BW: Predicted tag ids; what stands at padding has no influence.
            labels_BW: Gold tag ids; `IGNORED` (-100) marks padding.

        Raises:
            ValueError: The shapes differ, or a word's tag is no id of a label.
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
        """All scores, scalars from 0 to 1, and supports."""
        typed = _scores(self.default)
        # A type that is neither predicted nor gold has no F1, as in seqeval.
        met_T = self.default[1:].sum(0) > 0
        scores = _scores(self.default.sum(1))
        scores |= {f"{name}_strict": each for name, each in _scores(self.strict.sum(1)).items()}
        scores["f1_macro"] = _ratio(typed["f1"].sum(), met_T.sum())
        for name, each_T in {**typed, "support": self.default[2]}.items():
            scores |= {f"{name}/{t}": one for t, one in zip(self.types, each_T, strict=True)}
        return scores

    def _names(self, ids_BW: Tensor, words_BW: Tensor) -> list[str]:
        """The tags of all the words in one row, with an O behind each text."""
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
        """Correct, predicted and gold spans of each type, (3, T)."""
        kinds = [_by_type(each) for each in (spans & gold_spans, spans, gold_spans)]
        counts = [[kind[entity] for entity in self.types] for kind in kinds]
        return torch.tensor(counts, device=self.device)


def _by_type(spans: Iterable[Span]) -> Counter[str]:
    return Counter(entity for entity, _, _ in spans)


def _scores(counts: Tensor) -> dict[str, Tensor]:
    """F1, precision and recall of (correct, predicted, gold) along the first axis."""
    correct, predicted, gold = counts
    return {
        "f1": _ratio(2 * correct, predicted + gold),
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, gold),
    }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, and 0 where `whole` is 0; then `part` is 0 too."""
    return part / whole.clamp(min=1)
