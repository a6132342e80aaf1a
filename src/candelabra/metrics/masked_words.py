"""Metrics of masked words.

Shapes: B examples of a batch, W masked words, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from candelabra.records import IGNORED


class MaskedWordMetrics(Metric):
    """Accuracy and mean cross-entropy (nats) of predicted words; 0 without any word.

    Example:
        >>> metrics = MaskedWordMetrics()
        >>> probabilities = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])
        >>> metrics.update(probabilities.log(), torch.tensor([[1, -100]]))
        >>> {key: round(float(value), 4) for key, value in metrics.compute().items()}
        {'accuracy': 0.0, 'loss': 0.6931}
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    correct: Tensor
    loss: Tensor
    words: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("correct", "loss", "words"):
            self.add_state(name, torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, log_probabilities_BWV: Tensor, labels_BW: Tensor) -> None:
        """Add the words of a batch.

        Args:
            log_probabilities_BWV: Logarithm of the probability of each word of the vocabulary.
            labels_BW: Ids of the right words. `IGNORED` (-100) is skipped.
        """
        known_BW = labels_BW != IGNORED
        right_BW = labels_BW.where(known_BW, 0)
        found_BW = log_probabilities_BWV.gather(-1, right_BW.unsqueeze(-1))[..., 0]
        self.loss -= found_BW[known_BW].double().sum()
        self.correct += (log_probabilities_BWV.argmax(-1) == right_BW)[known_BW].sum()
        self.words += known_BW.sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute both scores, scalars."""
        words = self.words.clamp(min=1)
        return {"accuracy": self.correct / words, "loss": self.loss / words}
