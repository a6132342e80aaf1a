"""Metrics of pairs with similarity scores from annotators.

Shapes: B pairs of a batch, N pairs of all batches, M measures, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from candelabra.metrics.base import RowMetric
from candelabra.metrics.correlation import correlations
from candelabra.metrics.measures import (
    SIMILARITY_FUNCTIONS,
    check_texts,
    named,
    pairwise_similarity,
)


class SimilarityMetrics(RowMetric):
    """Correlations between the similarity of two embeddings and the target scores.

    `spearman` and `pearson` use cosine similarity. `spearman_dot`, `pearson_dot`, `..._euclidean`
    and `..._manhattan` use the dot product and negated distances. All are from -1 to 1, and 0 if
    the similarities or the targets are constant, or if there are no pairs.

    Args:
        labels: Ignored.

    Example:
        >>> metrics = SimilarityMetrics()
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> metrics.update(embeddings_BKD, torch.tensor([0.9, 0.2]))
        >>> round(float(metrics.compute()["spearman"]), 4)
        1.0
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Store the similarities of the pairs of a batch.

        Args:
            embeddings_BKD: Embeddings of K = 2 texts per example.
            labels_B: Target scores. NaN is skipped.

        Raises:
            ValueError: K is not 2.
        """
        check_texts(embeddings_BKD, "similarity metrics", least=2, most=2)
        self.keep(torch.stack(pairwise_similarity(*embeddings_BKD.unbind(1)), 1), labels_B)

    def compute(self) -> dict[str, Tensor]:
        """Compute all correlations, scalars from -1 to 1."""
        values_NM, right_N = self.counted()
        values_NM = values_NM if len(right_N) else values_NM.new_empty(0, len(SIMILARITY_FUNCTIONS))
        scores = {}
        for measure, found_N in zip(SIMILARITY_FUNCTIONS, values_NM.T, strict=True):
            spearman, pearson = correlations(found_N, right_N)
            scores[named("spearman", measure)] = spearman
            scores[named("pearson", measure)] = pearson
        return scores
