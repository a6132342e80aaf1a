"""Nearest-neighbour metrics of labelled texts.

Shapes: B texts of a batch, N texts of all batches, D embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from candelabra.metrics.base import RowMetric
from candelabra.metrics.measures import check_texts
from candelabra.metrics.nearest import blocks


class NeighbourMetrics(RowMetric):
    """Leave-one-out accuracy of the nearest neighbour.

    `accuracy` is the share of texts whose nearest other text of the evaluated split, by cosine, has
    the same label. With fewer than two texts it is 0.

    Args:
        labels: Ignored: only class ids are compared.

    Example:
        >>> metrics = NeighbourMetrics()
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]])
        >>> metrics.update(embeddings_BKD, torch.tensor([0, 0, 1]))
        >>> float(metrics.compute()["accuracy"])
        0.6666666666666666
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Store the embeddings of a batch.

        Args:
            embeddings_BKD: Embeddings of K = 1 text per example.
            labels_B: Class ids. Texts with `IGNORED` (-100) are left out, also as neighbours.

        Raises:
            ValueError: K is not 1.
        """
        check_texts(embeddings_BKD, "neighbour metrics", least=1, most=1)
        self.keep(embeddings_BKD.flatten(1), labels_B)

    def compute(self) -> dict[str, Tensor]:
        """Compute the accuracy, a scalar from 0 to 1."""
        vectors_ND, labels_N = self.counted()
        if len(labels_N) < 2:
            return {"accuracy": torch.zeros((), device=labels_N.device)}
        same_N = labels_N[nearest_others(vectors_ND)] == labels_N
        return {"accuracy": same_N.double().mean()}


def nearest_others(vectors_ND: Tensor) -> Tensor:
    """Find the nearest other vector of each vector by cosine.

    Args:
        vectors_ND: Two or more vectors.

    Returns:
        Indices (N) of the nearest other vectors.

    Example:
        >>> nearest_others(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]]))
        tensor([2, 2, 0])
    """
    unit_ND = normalize(vectors_ND.float())
    found = []
    for rows in blocks(len(unit_ND), len(unit_ND)):
        cosines = unit_ND[rows] @ unit_ND.T
        cosines.diagonal(rows.start).fill_(-math.inf)
        found.append(cosines.argmax(1))
    return torch.cat(found)
