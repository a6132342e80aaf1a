"""Scores of pairs that are alike or not.

Shapes: B pairs of a batch, N of all batches, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics.functional.classification import binary_average_precision

from candelabra.metrics.kept import KeptRows
from candelabra.metrics.likeness import check_texts


class BinaryPairMetrics(KeptRows):
    """`average_precision` of the cosine, and `accuracy` and `f1` at the best threshold of each.

    The thresholds are chosen on the judged pairs themselves, as is usual for this measure; so
    the two tell how far the classes can be told apart, and not how a fixed threshold would do.
    Without a pair of class 1 `average_precision` and `f1` are 0, as are all scores of nothing.

    Args:
        labels: The names of the two classes, that of pairs which are alike second; or none.

    Raises:
        ValueError: There are labels, and not two.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        if labels and len(labels) != 2:
            raise ValueError(f"binary pair metrics need two labels; found {list(labels)}")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Keep the cosines of a batch; the embeddings are not kept.

        Args:
            embeddings_BKD: K = 2 texts an example.
            labels_B: 1 where they are alike, 0 where not; `IGNORED` (-100) or NaN does not count.

        Raises:
            ValueError: The embeddings are not of pairs.
        """
        check_texts(embeddings_BKD, "binary pair metrics", least=2, most=2)
        left_BD, right_BD = embeddings_BKD.float().unbind(1)
        self.keep(cosine_similarity(left_BD, right_BD, dim=1)[:, None], labels_B)

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars from 0 to 1."""
        cosines_N1, labels_N = self.counted()
        alike_N, cosines_N = labels_N > 0.5, cosines_N1.flatten()
        zero = torch.zeros((), device=labels_N.device)
        scores = {"average_precision": zero, "accuracy": zero, "f1": zero}
        if len(alike_N):
            scores |= best_of_thresholds(cosines_N, alike_N)
        if bool(alike_N.any()):
            # Inside 0 to 1, as else torchmetrics takes them for logits.
            shares_N = ((cosines_N.double() + 1) / 2).clamp(0, 1)
            scores["average_precision"] = binary_average_precision(shares_N, alike_N.long())
        return scores


def best_of_thresholds(values_N: Tensor, alike_N: Tensor) -> dict[str, Tensor]:
    """The highest `accuracy` and `f1` that any threshold on the values gives.

    Args:
        values_N: More is more alike.
        alike_N: True where a pair is of class 1.
    """
    order_N = values_N.argsort(descending=True)
    values_N, alike_N = values_N[order_N], alike_N[order_N].double()
    # A threshold lies between two values, or beyond the last.
    ends_N = torch.cat([values_N[1:] != values_N[:-1], values_N.new_ones(1).bool()])
    right_N, found_N = alike_N.cumsum(0), torch.arange(1, len(alike_N) + 1, device=alike_N.device)
    num_alike, num_others = alike_N.sum(), (1 - alike_N).sum()
    accuracy_N = (right_N + num_others - (found_N - right_N)) / len(alike_N)
    f1_N = 2 * right_N / (found_N + num_alike)
    return {
        "accuracy": torch.maximum(accuracy_N[ends_N].max(), num_others / len(alike_N)),
        "f1": f1_N[ends_N].max(),
    }
