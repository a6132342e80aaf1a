"""Embedding losses, computed by sentence-transformers.

A loss is a function `(embeddings_BKD, labels_B)` that returns the sum over the batch's examples.
Shapes: B examples, K texts per example, D embedding width. The `Rule` of a loss states which
columns it needs, whether it compares examples within a batch, and how batches must be sampled.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor

from candelabra.data.mixing.arranging import apart, together
from candelabra.data.rows.shapes import (
    PAIR_WITH_LABEL,
    PAIR_WITH_SCORE,
    POSITIVE_PAIR,
    TEXT_WITH_LABEL,
    TRIPLET,
)
from candelabra.losses.rules import rule


@cache
def _made(name: str, **settings: Any) -> Any:
    """Construct a loss of sentence-transformers by its class name."""
    from sentence_transformers.sentence_transformer import losses

    # The model would only compute embeddings, and callers pass them in.
    return getattr(losses, name)(None, **settings)


def _sum(name: str, embeddings_BKD: Tensor, labels_B: Tensor, **settings: Any) -> Tensor:
    """Compute a sentence-transformers loss as a sum over the examples of the batch."""
    loss = _made(name, **settings)
    # sentence-transformers returns one value per batch. Multiply by the batch size: losses here
    # are sums over examples.
    of_batch = loss.compute_loss_from_embeddings(list(embeddings_BKD.unbind(1)), labels_B)
    return of_batch * len(embeddings_BKD)


@rule(PAIR_WITH_SCORE)
def cosine(embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
    """Compute the squared error between cosine similarity and score (Reimers & Gurevych 2019).

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> cosine(embeddings_BKD, torch.tensor([1.0, 0.5]))  # 0 + (0 - 0.5)^2
        tensor(0.2500)
    """
    return _sum("CosineSimilarityLoss", embeddings_BKD, labels_B)


@rule(PAIR_WITH_SCORE, in_batch=True)
def cosent(embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0) -> Tensor:
    """Compute the CoSENT loss, which ranks pairs by cosine similarity (Su 2022).

    The loss is `log(1 + sum exp(scale * (cos_i - cos_j)))` over all pairs of examples i, j where
    the score of i is below the score of j.

    Args:
        embeddings_BKD: Embeddings of K = 2 texts per example.
        labels_B: Similarity scores. Only their order matters.
        scale: Inverse temperature.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> cosent(embeddings_BKD, torch.tensor([0.0, 1.0]), scale=1.0)  # 2 log(1 + e)
        tensor(2.6265)
    """
    return _sum("CoSENTLoss", embeddings_BKD, labels_B, scale=scale)


@rule(PAIR_WITH_SCORE, in_batch=True)
def angle(embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0) -> Tensor:
    """Compute the AnglE loss: `cosent` with angle differences for cosines (Li & Li 2023).

    The angle in complex space keeps a useful gradient where the cosine saturates.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> angle(embeddings_BKD, torch.tensor([0.0, 1.0]), scale=0.0)  # 2 log(1 + 1)
        tensor(1.3863)
    """
    return _sum("AnglELoss", embeddings_BKD, labels_B, scale=scale)


@rule(PAIR_WITH_LABEL, num_labels=2)
def contrastive(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 0.5) -> Tensor:
    """Compute the contrastive loss (Hadsell et al. 2006).

    It pulls similar pairs together and pushes dissimilar pairs at least `margin` apart.

    Args:
        embeddings_BKD: Embeddings of K = 2 texts per example.
        labels_B: 1 for similar pairs, 0 for dissimilar pairs.
        margin: Minimum cosine distance of dissimilar pairs, from 0 to 2.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> contrastive(embeddings_BKD, torch.tensor([0, 1]))  # (0.5^2 + 1^2) / 2
        tensor(0.6250)
    """
    return _sum("ContrastiveLoss", embeddings_BKD, labels_B, margin=margin)


@rule(PAIR_WITH_LABEL, in_batch=True, num_labels=2)
def online_contrastive(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 0.5) -> Tensor:
    """Compute the contrastive loss on the hard pairs of the batch only.

    A similar pair is hard if it is farther apart than the closest dissimilar pair; a dissimilar
    pair is hard if it is closer than the farthest similar pair.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> online_contrastive(embeddings_BKD, torch.tensor([1, 0]))  # no pair is hard
        tensor(0.)
    """
    return _sum("OnlineContrastiveLoss", embeddings_BKD, labels_B, margin=margin)


@rule(POSITIVE_PAIR, TRIPLET, in_batch=True, arrange=apart)
def ranking(
    embeddings_BKD: Tensor, labels_B: Tensor, *, scale: float = 20.0, symmetric: bool = False
) -> Tensor:
    """Compute the multiple negatives ranking loss (Henderson et al. 2017).

    For each anchor, this is the cross-entropy of its own positive among all positives (and
    negatives, if there are any) of the batch, with `scale * cosine` as logits. Larger batches
    contain more candidates and make the task harder.

    Args:
        embeddings_BKD: Embeddings of anchor, positive and, optionally, negative.
        labels_B: Ignored.
        scale: Inverse temperature.
        symmetric: Whether to also rank the anchors of the batch for each positive.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.eye(2)[:, None].repeat(1, 2, 1)
        >>> ranking(embeddings_BKD, torch.ones(2), scale=1.0)  # 2 log(1 + 1 / e)
        tensor(0.6265)
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
    """Compute the mega-batch margin loss (Wieting & Gimpel 2018).

    For each anchor, the hardest negative is the most similar positive of another anchor. The loss
    is meant for batches of several hundred examples.

    Args:
        embeddings_BKD: Embeddings of anchor and positive.
        labels_B: Ignored.
        positive_margin: Cosine below which a positive pair is penalized.
        negative_margin: Cosine above which a hardest negative is penalized.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.eye(2)[:, None].repeat(1, 2, 1)
        >>> mega_batch_margin(embeddings_BKD, torch.ones(2))  # positives at 1, negatives at 0
        tensor(0.)
        >>> mega_batch_margin(torch.ones(2, 2, 4), torch.ones(2))  # negatives at 1: 2 (1 - 0.3)
        tensor(1.4000)
    """
    settings = {"positive_margin": positive_margin, "negative_margin": negative_margin}
    whole = _made("MegaBatchMarginLoss", use_mini_batched_version=False, **settings)
    mean = whole.calculate_loss([[each] for each in embeddings_BKD.unbind(1)])
    return mean * len(embeddings_BKD)


@rule(TRIPLET)
def triplet(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """Compute the triplet loss `relu(|a - p| - |a - n| + margin)` (Schroff et al. 2015).

    Args:
        embeddings_BKD: Embeddings of anchor a, positive p and negative n.
        labels_B: Ignored.
        margin: Margin in Euclidean distance. Unit vectors are at most 2 apart.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]])
        >>> triplet(embeddings_BKD, torch.ones(1))  # 3 - 4 + 5
        tensor(4.)
    """
    return _sum("TripletLoss", embeddings_BKD, labels_B, triplet_margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_hard(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """Compute the triplet loss with the hardest triplet of each text (Hermans et al. 2017).

    Each text is an anchor. Its positive is the farthest text of the same class, its negative the
    nearest text of another class.

    Args:
        embeddings_BKD: Embeddings of K = 1 text per example.
        labels_B: Class ids.
        margin: Margin in Euclidean distance. Unit vectors are at most 2 apart.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]], [[0.6, 0.8]]])
        >>> batch_hard(embeddings_BKD, torch.tensor([0, 0, 1, 1]), margin=0.0).round(decimals=4)
        tensor(0.6992)
    """
    return _sum("BatchHardTripletLoss", embeddings_BKD, labels_B, margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_hard_soft_margin(embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
    """Compute `batch_hard` with the soft margin `log(1 + exp(x))` (Hermans et al. 2017).

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]], [[0.6, 0.8]]])
        >>> batch_hard_soft_margin(embeddings_BKD, torch.tensor([0, 0, 1, 1])).round(decimals=4)
        tensor(2.9077)
    """
    return _sum("BatchHardSoftMarginTripletLoss", embeddings_BKD, labels_B)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_semi_hard(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """Compute the triplet loss with semi-hard negatives (Schroff et al. 2015).

    The negative is the nearest text of another class that is still farther away than the positive.

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]], [[0.6, 0.8]]])
        >>> batch_semi_hard(embeddings_BKD, torch.tensor([0, 0, 1, 1])).round()
        tensor(19.)
    """
    return _sum("BatchSemiHardTripletLoss", embeddings_BKD, labels_B, margin=margin)


@rule(TEXT_WITH_LABEL, in_batch=True, arrange=together)
def batch_all(embeddings_BKD: Tensor, labels_B: Tensor, *, margin: float = 5.0) -> Tensor:
    """Compute the mean triplet loss over all triplets whose loss is not 0 (Hermans et al. 2017).

    Example:
        >>> import torch
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]], [[0.6, 0.8]]])
        >>> batch_all(embeddings_BKD, torch.tensor([0, 0, 1, 1]), margin=1.0).round(decimals=4)
        tensor(3.0439)
    """
    return _sum("BatchAllTripletLoss", embeddings_BKD, labels_B, margin=margin)
