"""Compute the loss of one task from its logits or embeddings."""

from candelabra.losses.classification import (
    binary_cross_entropy,
    class_balanced,
    cross_entropy,
    focal,
    logit_adjustment,
    squared_error,
)
from candelabra.losses.embeddings import (
    angle,
    batch_all,
    batch_hard,
    batch_hard_soft_margin,
    batch_semi_hard,
    contrastive,
    cosent,
    cosine,
    mega_batch_margin,
    online_contrastive,
    ranking,
    triplet,
)

__all__ = [
    "angle",
    "batch_all",
    "batch_hard",
    "batch_hard_soft_margin",
    "batch_semi_hard",
    "binary_cross_entropy",
    "class_balanced",
    "contrastive",
    "cosent",
    "cosine",
    "cross_entropy",
    "focal",
    "logit_adjustment",
    "mega_batch_margin",
    "online_contrastive",
    "ranking",
    "squared_error",
    "triplet",
]
