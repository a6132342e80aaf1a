"""Loss weights that even out how many labels the tasks have."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from candelabra.objective.weighting.base import Linear


class LogClasses(Linear):
    """`w_i ~ 1 / log C_i` with `C_i` labels, scaled to sum K.

    A classifier that knows nothing has the cross-entropy `log C`: .69 for 2 labels, 3.2 for 25. So
    all tasks start with the same weighted loss.

    Args:
        tasks: For each task the number of its labels.

    Raises:
        ValueError: A task has less than two labels.
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
