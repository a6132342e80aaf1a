"""Rule by which the losses of micro-batches and processes add up to the mean of a step."""

from __future__ import annotations

from torch import Tensor


def part_of_mean(total: Tensor, count: int, *, parts: int = 1) -> Tensor:
    """Return one micro-batch's part of the mean over a whole optimizer step.

    A mean of the means of unequal micro-batches would be biased, so that sums are divided by the
    count of the whole step. Lightning divides each loss by the number of micro-batches, and
    DistributedDataParallel by the number of processes; multiplying by `parts` cancels both.

    Args:
        total: Sum of the loss over the units of this micro-batch on this process.
        count: Number of units in the optimizer step, over all micro-batches and processes.
        parts: Number of micro-batches in the step, over all processes.

    Returns:
        Scalar. Its average over all parts of the step is the mean over the units of the step.

    Example:
        >>> import torch
        >>> totals = torch.tensor([2.0, 10.0])  # of 1 and 3 units
        >>> torch.stack([part_of_mean(total, 4, parts=2) for total in totals]).mean()
        tensor(3.)
    """
    return total / count * parts
