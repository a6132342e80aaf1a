"""Losses of embeddings, by sentence-transformers.

A loss is a function `(embeddings_BKD, labels_B) -> sum over the examples`: B examples of K texts
each, D wide. Its rule says which data it fits, whether it compares the examples of a batch with
each other, and how such batches have to be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from torch import Tensor

from candelabra.data.arranging import Arrange, apart, together
from candelabra.data.shapes import (
    PAIR_WITH_LABEL,
    PAIR_WITH_SCORE,
    POSITIVE_PAIR,
    TEXT_WITH_LABEL,
    TRIPLET,
)

Loss = Callable[..., Tensor]
Shape = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """What a loss of embeddings asks for.

    Attributes:
        shapes: The data that it fits; none: it is not known.
        in_batch: Whether examples are compared with each other: it then needs all of a step's.
        num_labels: How many labels there must be; None: any number.
        arrange: How examples are put into steps; None: as drawn.
    """

    shapes: tuple[Shape, ...] = ()
    in_batch: bool = False
    num_labels: int | None = None
    arrange: Arrange | None = None

    def check(self, shape: Shape, labels: Sequence[str]) -> None:
        """Raises ValueError where data of this shape, with these labels, do not fit."""
        if self.shapes and shape not in self.shapes:
            wanted = " or ".join(", ".join(roles) for roles in self.shapes)
            raise ValueError(f"this loss learns from {wanted}; the columns are {', '.join(shape)}")
        if self.num_labels is not None and len(labels) != self.num_labels:
            raise ValueError(
                f"this loss needs {self.num_labels} labels, first of pairs that differ, then of "
                f"pairs that belong together; found {len(labels)}: {', '.join(labels)}"
            )


def rule_of(function: Loss) -> Rule:
    """The rule of a loss; one that has none fits anything, example by example.

    A loss that compares the examples of a step has to say so: `@rule(..., in_batch=True)`.
    """
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "rule", Rule())


def fitting(shape: Shape) -> tuple[str, ...]:
    """The options of the loss group that fit data of a shape."""
    return tuple(name for name, rule in RULES.items() if shape in rule.shapes)


RULES: dict[str, Rule] = {}
"""Of the losses below, by the names of their options; for messages."""


def rule(*shapes: Shape, **settings: Any) -> Callable[[Loss], Loss]:
    """Gives a loss its `Rule`, yours in a module of your own as well.

    Args:
        shapes: The data that it fits.
        settings: The other attributes of `Rule`.
    """

    def give(function: Loss) -> Loss:
        function.rule = RULES[function.__name__] = Rule(shapes, **settings)  # type: ignore[attr-defined]
        return function

    return give


@cache
def _made(name: str, **settings: Any) -> Any:
    """A loss of sentence-transformers."""
    from sentence_transformers.sentence_transformer import losses

    # They use the model to embed, and here the texts are embedded already.
    return getattr(losses, name)(None, **settings)


def _sum(name: str, embeddings_BKD: Tensor, labels_B: Tensor, **settings: Any) -> Tensor:
    """What the library gives of a batch, be it a mean or not, counts for each of its examples."""
    loss = _made(name, **settings)
    of_batch = loss.compute_loss_from_embeddings(list(embeddings_BKD.unbind(1)), labels_B)
    return of_batch * len(embeddings_BKD)


@rule(PAIR_WITH_SCORE)
def cosine(embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
    """Squared difference of cosine and score (Reimers & Gurevych 2019)."""
    return _sum("CosineSimilarityLoss", embeddings_BKD, labels_B)


@rule(PAIR_WITH_SCORE, in_batch=True)
def cosent(embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0) -> Tensor:
    """`log(1 + sum exp(scale (cos_i - cos_j)))` over pairs with score i below score j (Su 2022).

    Args:
        embeddings_BKD: Two texts an example.
        labels_B: Scores; only their order counts.
        scale: Inverse temperature.
    """
    return _sum("CoSENTLoss", embeddings_BKD, labels_B, scale=scale)


@rule(PAIR_WITH_SCORE, in_batch=True)
def angle(embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0) -> Tensor:
    """CoSENT of angles in complex space, which do not saturate as cosines do (Li & Li 2023)."""
    return _sum("AnglELoss", embeddings_BKD, labels_B, scale=scale)


@rule(PAIR_WITH_LABEL, num_labels=2)
def contrastive(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 0.5) -> Tensor:
    """Pulls pairs of label 1 together, pushes others `margin` apart (Hadsell et al. 2006).

    Args:
        embeddings_BKD: Two texts an example.
        labels_B: 1 for pairs that belong together, 0 for those that do not.
        margin: In cosine distance, 0 to 2.
    """
    return _sum("ContrastiveLoss", embeddings_BKD, labels_B, margin=margin)


@rule(PAIR_WITH_LABEL, in_batch=True, num_labels=2)
def online_contrastive(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 0.5) -> Tensor:
    """`contrastive` of the batch's hard pairs: those that lie on the wrong side of another."""
    return _sum("OnlineContrastiveLoss", embeddings_BKD, labels_B, margin=margin)


@rule(POSITIVE_PAIR, TRIPLET, in_batch=True, arrange=apart)
def ranking(
    embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0, symmetric: bool = False
) -> Tensor:
    """Multiple negatives ranking: cross-entropy of `scale cos` over the batch's other positives.

    Henderson et al. 2017; negatives of triplets are candidates as well. The larger the batch, the
    harder the task.

    Args:
        embeddings_BKD: Anchor and positive, and perhaps a negative.
        labels_B: Not looked at.
        scale: Inverse temperature.
        symmetric: The anchors are ranked for each positive, too.
    """
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    settings: dict[str, Any] = both if symmetric else {}
    return _sum("MultipleNegativesRankingLoss", embeddings_BKD, labels_B, scale=scale, **settings)


@rule(POSITIVE_PAIR, in_batch=True, arrange=apart)
def mega_batch_margin(
    embeddings_BKD: Tensor,
    labels_B: Tensor,
    *,
    positive_margin: float = 0.8,
    negative_margin: float = 0.3,
) -> Tensor:
    """Margins on the cosines of each anchor's positive and its hardest other positive.

    Wieting & Gimpel 2018; made for batches of hundreds.

    Args:
        embeddings_BKD: Anchor and positive.
        labels_B: Not looked at.
        positive_margin: Positives are pulled to this cosine at least.
        negative_margin: The hardest negatives are pushed to this one at most.
    """
    settings = {"positive_margin": positive_margin, "negative_margin": negative_margin}
    whole = _made("MegaBatchMarginLoss", use_mini_batched_version=False, **settings)
    mean = whole.calculate_loss([[each] for each in embeddings_BKD.unbind(1)])
    return mean * len(embeddings_BKD)


@rule(TRIPLET)
def triplet(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """`relu(|a - p| - |a - n| + margin)` (Schroff et al. 2015).

    Args:
        embeddings_BKD: Anchor, positive, negative.
        labels_B: Not looked at.
        margin: In Euclidean distance; unit vectors are at most 2 apart.
    """
    return _sum("TripletLoss", embeddings_BKD, labels_B, triplet_margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_hard(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """`triplet` of each text with its farthest own and its nearest other (Hermans et al. 2017).

    Args:
        embeddings_BKD: One text an example.
        labels_B: Class ids.
        margin: In Euclidean distance; unit vectors are at most 2 apart.
    """
    return _sum("BatchHardTripletLoss", embeddings_BKD, labels_B, margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_hard_soft_margin(embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
    """`batch_hard` with `log(1 + exp(x))` in place of a margin (Hermans et al. 2017)."""
    return _sum("BatchHardSoftMarginTripletLoss", embeddings_BKD, labels_B)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_semi_hard(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """`triplet` with the nearest others that lie beyond the own text (Schroff et al. 2015)."""
    return _sum("BatchSemiHardTripletLoss", embeddings_BKD, labels_B, margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_all(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """`triplet` of all triplets of the batch that are not yet right (Hermans et al. 2017)."""
    return _sum("BatchAllTripletLoss", embeddings_BKD, labels_B, margin=margin)
