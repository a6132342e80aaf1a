"""Metrics of triplets.

Shapes: B triplets, D embedding width, M measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from candelabra.metrics.base import numbers
from candelabra.metrics.measures import (
    SIMILARITY_FUNCTIONS,
    check_texts,
    named,
    pairwise_similarity,
)


class TripletMetrics(Metric):
    """Share of triplets whose anchor is more similar to the positive than to the negative.

    `accuracy` uses cosine similarity; `accuracy_dot`, `accuracy_euclidean` and
    `accuracy_manhattan` use other measures. Ties count as errors, so an encoder that returns the
    same vector for all texts scores 0.

    Args:
        labels: Ignored.

    Example:
        >>> metrics = TripletMetrics()
        >>> metrics.update(torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]), torch.ones(1))
        >>> {key: float(value) for key, value in metrics.compute().items()}
        {'accuracy': 1.0, 'accuracy_dot': 1.0, 'accuracy_euclidean': 1.0, 'accuracy_manhattan': 1.0}
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        zeros = torch.zeros(len(SIMILARITY_FUNCTIONS), dtype=torch.long)
        self.add_state("right", zeros, dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Count the correctly ordered triplets of a batch.

        Args:
            embeddings_BKD: Embeddings of anchor, positive and negative (K = 3).
            labels_B: Triplets with NaN or `IGNORED` (-100) are skipped. Other values have no
                effect.

        Raises:
            ValueError: K is not 3.
        """
        check_texts(embeddings_BKD, "triplet metrics", least=3, most=3)
        anchor_BD, positive_BD, negative_BD = embeddings_BKD.unbind(1)
        right_MB = torch.stack(pairwise_similarity(anchor_BD, positive_BD))
        wrong_MB = torch.stack(pairwise_similarity(anchor_BD, negative_BD))
        counted_B = ~numbers(labels_B).isnan()
        self.right = self.right + ((right_MB > wrong_MB) & counted_B).sum(1)
        self.total = self.total + counted_B.sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores, scalars from 0 to 1."""
        shares_M = self.right / self.total.clamp(min=1)
        return {
            named("accuracy", m): share
            for m, share in zip(SIMILARITY_FUNCTIONS, shares_M, strict=True)
        }
