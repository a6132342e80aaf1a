"""Scores of triplets: is the anchor nearer to the positive than to the negative?

Shapes: B triplets, D width of an embedding, M measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from candelabra.metrics.kept import numbers
from candelabra.metrics.likeness import MEASURES, check_texts, likeness, named


class TripletMetrics(Metric):
    """`accuracy`: the share of triplets whose positive has the higher cosine with the anchor.

    `accuracy_dot`, `accuracy_euclidean` and `accuracy_manhattan` take another measure. A draw is
    not right, so that an encoder which gives the same vector to all texts scores 0.

    Args:
        labels: None: triplets have no classes.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        zeros = torch.zeros(len(MEASURES), dtype=torch.long)
        self.add_state("right", zeros, dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Count a batch.

        Args:
            embeddings_BKD: Anchor, positive, negative.
            labels_B: NaN, or `IGNORED` (-100) as a class id, does not count; all else does.

        Raises:
            ValueError: The embeddings are not of triplets.
        """
        check_texts(embeddings_BKD, "triplet metrics", least=3, most=3)
        anchor_BD, positive_BD, negative_BD = embeddings_BKD.unbind(1)
        right_MB = torch.stack(likeness(anchor_BD, positive_BD))
        wrong_MB = torch.stack(likeness(anchor_BD, negative_BD))
        counted_B = ~numbers(labels_B).isnan()
        self.right = self.right + ((right_MB > wrong_MB) & counted_B).sum(1)
        self.total = self.total + counted_B.sum()

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars from 0 to 1."""
        shares_M = self.right / self.total.clamp(min=1)
        return {named("accuracy", m): share for m, share in zip(MEASURES, shares_M, strict=True)}
