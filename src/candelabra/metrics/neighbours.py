"""Scores of labelled texts: does the nearest other text have the same label?

Shapes: B texts of a batch, N of all batches, D width of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from candelabra.metrics.kept import KeptRows
from candelabra.metrics.likeness import check_texts
from candelabra.metrics.searching import blocks


class NeighbourMetrics(KeptRows):
    """`accuracy`: the share of texts whose nearest other text, by cosine, has the same label.

    The neighbours are of the judged split itself, each text left out for its own. Of fewer than
    two texts it is 0.

    Args:
        labels: The names of the classes in the order of their ids; only ids are compared.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Keep the embeddings of a batch.

        Args:
            embeddings_BKD: K = 1 text an example.
            labels_B: Class ids; `IGNORED` (-100) does not count, and is nobody's neighbour.

        Raises:
            ValueError: The embeddings are not of single texts.
        """
        check_texts(embeddings_BKD, "neighbour metrics", least=1, most=1)
        self.keep(embeddings_BKD.flatten(1), labels_B)

    def compute(self) -> dict[str, Tensor]:
        """The score, a scalar from 0 to 1."""
        vectors_ND, labels_N = self.counted()
        if len(labels_N) < 2:
            return {"accuracy": torch.zeros((), device=labels_N.device)}
        same_N = labels_N[nearest_others(vectors_ND)] == labels_N
        return {"accuracy": same_N.double().mean()}


def nearest_others(vectors_ND: Tensor) -> Tensor:
    """The place of each vector's nearest other one by cosine, (N); needs two vectors or more."""
    unit_ND = normalize(vectors_ND.float())
    found = []
    for rows in blocks(len(unit_ND), len(unit_ND)):
        cosines = unit_ND[rows] @ unit_ND.T
        cosines.diagonal(rows.start).fill_(-math.inf)
        found.append(cosines.argmax(1))
    return torch.cat(found)
