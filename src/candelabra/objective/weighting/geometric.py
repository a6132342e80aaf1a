"""The geometric mean of the losses."""

from __future__ import annotations

from torch import Tensor

from candelabra.objective.weighting.step import Grams, StepWeighting

LEAST = 1e-8
"""Losses below count as this much: the mean wants positive ones."""


class Geometric(StepWeighting):
    """`(prod L_i)^(1/K)` (Chennupati et al. 2019, MultiNet++): the scale of a loss has no effect.

    Its gradient is the plain sum's with the weights `(prod L)^(1/K) / (K L_i)`, for heads too. As
    published: the weights do not sum to K, and are small where losses are small.

    Args:
        tasks: The names of all tasks.
    """

    def weigh(self, losses_K: Tensor, grams: Grams) -> Tensor:
        """The derivative of the geometric mean by each loss."""
        positive_K = losses_K.clamp(min=LEAST)
        return positive_K.log().mean().exp() / (len(positive_K) * positive_K)
