"""Scores of pairs with a similarity that people gave.

Shapes: B pairs of a batch, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from candelabra.metrics.correlation import correlations
from candelabra.metrics.kept import KeptRows
from candelabra.metrics.likeness import MEASURES, check_texts, likeness, named


class SimilarityMetrics(KeptRows):
    """`spearman` and `pearson` of the cosine with the right scores, from -1 to 1.

    `spearman_dot`, `pearson_dot`, `..._euclidean` and `..._manhattan` take another measure in
    place of the cosine; distances are negated. A correlation with what does not vary is 0, as
    are all of nothing.

    Args:
        labels: None: scores have no names.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Keep how alike the pairs of a batch are; the embeddings are not kept.

        Args:
            embeddings_BKD: K = 2 texts an example.
            labels_B: Right scores; NaN does not count.

        Raises:
            ValueError: The embeddings are not of pairs.
        """
        check_texts(embeddings_BKD, "similarity metrics", least=2, most=2)
        self.keep(torch.stack(likeness(*embeddings_BKD.unbind(1)), 1), labels_B)

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars."""
        values_NM, right_N = self.counted()
        values_NM = values_NM if len(right_N) else values_NM.new_empty(0, len(MEASURES))
        scores = {}
        for measure, found_N in zip(MEASURES, values_NM.T, strict=True):
            spearman, pearson = correlations(found_N, right_N)
            scores[named("spearman", measure)] = spearman
            scores[named("pearson", measure)] = pearson
        return scores
