"""The geometric mean of the losses."""

from __future__ import annotations

from torch import Tensor

from candelabra.weighting.end_of_step import Grams, StepWeighting

LEAST = 1e-8
"""Smaller losses are raised to this value, because the geometric mean needs positive numbers."""


class Geometric(StepWeighting):
    """Geometric mean `(prod L_i)^(1/K)` (Chennupati et al. 2019, MultiNet++).

    Scaling a loss by a constant does not change its relative influence. The gradient is that of a
    sum with weights `(prod L)^(1/K) / (K L_i)`, also for the heads. As in the paper, the weights
    are not normalized to sum to K.

    Args:
        tasks: Names of all tasks.
    """

    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """Return the derivative of the geometric mean with respect to each loss."""
        positive_K = losses_K.clamp(min=LEAST)
        return positive_K.log().mean().exp() / (len(positive_K) * positive_K)
