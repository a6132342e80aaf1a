"""Loss weights that compensate for different numbers of labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from candelabra.weighting.base import Linear


class LogClasses(Linear):
    """Weights proportional to `1 / log C_i` for `C_i` labels, normalized to sum to K.

    A uniform prediction has the cross-entropy `log C`: 0.69 for 2 labels, 3.2 for 25. With these
    weights, all tasks start with about the same weighted loss.

    Args:
        tasks: Number of labels of each task.

    Raises:
        ValueError: A task has fewer than two labels.

    Example:
        >>> LogClasses({"coarse": 2, "fine": 4}).weights()
        {'coarse': tensor(1.3333), 'fine': tensor(0.6667)}
    """

    moves = False

    def __init__(self, tasks: Mapping[str, int]) -> None:
        super().__init__(tasks)
        for task, num_labels in tasks.items():
            if num_labels < 2:
                raise ValueError(
                    f"weighting=log_classes needs two or more labels of each task; '{task}' has "
                    f"{num_labels}"
                )
        weights = [1 / math.log(num_labels) for num_labels in tasks.values()]
        self.weights_K.copy_(torch.tensor(weights) * (len(weights) / math.fsum(weights)))
