"""Noise of the comparison of gradients: how much two halves of one task's batch agree."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from candelabra.records import Batch
from candelabra.training.module import MultiTaskModule
from candelabra.training.part_gradients import flat_gradients, grams_of, loss_terms, trainable_in


def half_cosines(
    module: MultiTaskModule, batches: Mapping[str, Batch], parts: Collection[str]
) -> dict[str, float]:
    """Compute the cosine of the gradients of two halves of each task's batch.

    This runs one more forward and backward pass over the batch. Gradients in `.grad` stay as they
    are.

    Args:
        module: Module in training.
        batches: Micro-batch: task name -> batch.
        parts: Parts of the model to compare.

    Returns:
        `<task>/<part>` -> cosine, for each of `parts` and for all of them together. Tasks with
        fewer than two examples in a process, and gradients of zero, are left out.
    """
    by_part = trainable_in(module, parts)
    if not any(by_part.values()):
        return {}  # The encoder is frozen.
    cosines: dict[str, float] = {}
    for task, batch in batches.items():
        # All processes must take part in the reduction.
        enough = batch.counted and len(batch.rows_B) >= 2
        if module.trainer.strategy.reduce_boolean_decision(enough, all=True):
            halves = (half_of(batch, i, module.trainer.world_size) for i in (0, 1))
            first, second = (_gradients(module, task, half, by_part) for half in halves)
            grams = grams_of(first, second)
            cosines |= {f"{task}/{part}": _cosine(gram_22) for part, gram_22 in grams.items()}
    return {key: cosine for key, cosine in cosines.items() if math.isfinite(cosine)}


def noise_of(halves: Mapping[int, Mapping[str, float]], tasks: Collection[str], part: str) -> float:
    """Return the noise of the cosine between two tasks in a part of the model.

    Args:
        halves: Optimizer step -> {`<task>/<part>`: cosine of two halves of the task's batch}.
        tasks: Names of the two tasks.
        part: Part of the model.

    Returns:
        95% of the cosines of halves are smaller in size; 0 if there are none.
    """
    keys = {f"{task}/{part}" for task in tasks}
    sizes = [abs(cosine) for each in halves.values() for key, cosine in each.items() if key in keys]
    return float(torch.tensor(sizes, dtype=torch.float64).quantile(0.95)) if sizes else 0.0


def half_of(batch: Batch, start: int, world_size: int) -> Batch:
    """Return every second example of this process, as a batch of an optimizer step of its own.

    Args:
        batch: Batch of this process, which holds every `world_size`-th example of the step.
        start: 0 or 1, the first example.
        world_size: Number of processes.
    """
    rounds, rest = divmod(batch.num_examples, world_size)  # and the last round, of `rest` examples
    size = (rounds + 1 - start) // 2 * world_size + (rest if rounds % 2 == start else 0)
    return replace(_half(batch, start), num_examples=size)


def _half(record: Any, start: int) -> Any:
    """Return every second example of a batch, in all of its tensors."""
    if isinstance(record, Tensor):
        return record[start::2]
    if isinstance(record, tuple):
        return tuple(_half(item, start) for item in record)
    if is_dataclass(record) and not isinstance(record, type):
        values = {field.name: _half(getattr(record, field.name), start) for field in fields(record)}
        return replace(record, **values)
    return record


def _gradients(
    module: MultiTaskModule, task: str, batch: Batch, by_part: Mapping[str, list[nn.Parameter]]
) -> dict[str, Tensor]:
    """Return the gradient of a task's loss in each part, averaged over the processes."""
    labels, teacher = loss_terms(module, task, batch)
    return flat_gradients(module, labels if teacher is None else labels + teacher, by_part)


def _cosine(gram_22: Tensor) -> float:
    """Return the cosine from the scalar products of two vectors; NaN if one of them is zero."""
    return float(gram_22[0, 1] / (gram_22[0, 0] * gram_22[1, 1]).sqrt())
