"""Metrics of pairs labelled as similar or dissimilar.

Shapes: B pairs of a batch, N pairs of all batches, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics.functional.classification import binary_average_precision

from candelabra.metrics.base import RowMetric
from candelabra.metrics.measures import check_texts


class BinaryPairMetrics(RowMetric):
    """Average precision, accuracy and F1 of cosine similarities.

    `average_precision` needs no threshold. `accuracy` and `f1` each use the threshold that is best
    on the evaluated pairs, as usual for these measures. They show how well the classes can be
    separated, and overestimate the result of a threshold chosen beforehand. `average_precision`
    and `f1` are 0 if no pair is similar, and all scores are 0 if there are no pairs.

    Args:
        labels: Names of the two classes, similar pairs last, or empty.

    Raises:
        ValueError: The number of labels is neither 0 nor 2.

    Example:
        >>> metrics = BinaryPairMetrics()
        >>> embeddings_BKD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> metrics.update(embeddings_BKD, torch.tensor([1, 0]))
        >>> {key: float(value) for key, value in metrics.compute().items()}
        {'average_precision': 1.0, 'accuracy': 1.0, 'f1': 1.0}
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        if labels and len(labels) != 2:
            raise ValueError(f"binary pair metrics need two labels; found {list(labels)}")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Store the cosine similarities of a batch.

        Args:
            embeddings_BKD: Embeddings of K = 2 texts per example.
            labels_B: 1 for similar pairs, 0 for dissimilar pairs. `IGNORED` (-100) and NaN are
                skipped.

        Raises:
            ValueError: K is not 2.
        """
        check_texts(embeddings_BKD, "binary pair metrics", least=2, most=2)
        left_BD, right_BD = embeddings_BKD.float().unbind(1)
        self.keep(cosine_similarity(left_BD, right_BD, dim=1)[:, None], labels_B)

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores, scalars from 0 to 1."""
        cosines_N1, labels_N = self.counted()
        alike_N, cosines_N = labels_N > 0.5, cosines_N1.flatten()
        zero = torch.zeros((), device=labels_N.device)
        scores = {"average_precision": zero, "accuracy": zero, "f1": zero}
        if len(alike_N):
            scores |= best_of_thresholds(cosines_N, alike_N)
        if bool(alike_N.any()):
            # torchmetrics treats values outside 0 to 1 as logits.
            shares_N = ((cosines_N.double() + 1) / 2).clamp(0, 1)
            scores["average_precision"] = binary_average_precision(shares_N, alike_N.long())
        return scores


def best_of_thresholds(values_N: Tensor, alike_N: Tensor) -> dict[str, Tensor]:
    """Compute the highest accuracy and the highest F1 over all thresholds.

    Args:
        values_N: Similarities. Pairs at or above the threshold are predicted to be similar.
        alike_N: True for similar pairs.

    Returns:
        The scalars `accuracy` and `f1`, whose thresholds may differ.

    Example:
        >>> best_of_thresholds(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([True, False, False]))
        {'accuracy': tensor(1., dtype=torch.float64), 'f1': tensor(1., dtype=torch.float64)}
    """
    order_N = values_N.argsort(descending=True)
    values_N, alike_N = values_N[order_N], alike_N[order_N].double()
    # Equal values cannot be separated, so a threshold ends only where the value changes.
    ends_N = torch.cat([values_N[1:] != values_N[:-1], values_N.new_ones(1).bool()])
    right_N, found_N = alike_N.cumsum(0), torch.arange(1, len(alike_N) + 1, device=alike_N.device)
    num_alike, num_others = alike_N.sum(), (1 - alike_N).sum()
    accuracy_N = (right_N + num_others - (found_N - right_N)) / len(alike_N)
    f1_N = 2 * right_N / (found_N + num_alike)
    return {
        "accuracy": torch.maximum(accuracy_N[ends_N].max(), num_others / len(alike_N)),
        "f1": f1_N[ends_N].max(),
    }
