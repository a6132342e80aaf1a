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
from candelabra.training.task_gradients import part_of
from candelabra.weighting.end_of_step import ALL


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
    depth = len(module.model.encoder.layers)
    # Sorted: all processes must reduce the parts in one order, and that of a set differs.
    by_part: dict[str, list[nn.Parameter]] = {part: [] for part in sorted(parts)}
    for name, parameter in module.model.named_parameters():
        part = part_of(name, depth)
        if parameter.requires_grad and part in by_part:
            by_part[part].append(parameter)
    if not any(by_part.values()):
        return {}  # The encoder is frozen.
    cosines: dict[str, float] = {}
    for task, batch in batches.items():
        # All processes must take part in the reduction.
        enough = batch.counted and len(batch.rows_B) >= 2
        if module.trainer.strategy.reduce_boolean_decision(enough, all=True):
            first, second = (_gradients(module, task, _half(batch, i), by_part) for i in (0, 1))
            rows = {part: torch.stack([first[part], second[part]]) for part in by_part}
            grams = {part: rows_2P @ rows_2P.T for part, rows_2P in rows.items()}
            grams[ALL] = torch.stack([gram_22.cpu().double() for gram_22 in grams.values()]).sum(0)
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
    """Return the flat gradient of a task's loss in each part, averaged over the processes."""
    parameters = [parameter for each in by_part.values() for parameter in each]
    with module.trainer.precision_plugin.train_step_context():
        logits = module.model.forward_task(task, batch)
        loss = module.model.head(task).loss(module.objectives[task].loss, logits, batch)
    gradients = iter(
        torch.autograd.grad(loss, parameters, allow_unused=True)
        if loss.requires_grad
        else [None] * len(parameters)
    )
    flat = {}
    for part, each in by_part.items():
        pairs = [(parameter, next(gradients)) for parameter in each]
        pieces = [(torch.zeros_like(p) if g is None else g).flatten().float() for p, g in pairs]
        gradient = torch.cat(pieces) if pieces else torch.zeros(0)
        flat[part] = torch.as_tensor(module.trainer.strategy.reduce(gradient, reduce_op="mean"))
    return flat


def _cosine(gram_22: Tensor) -> float:
    """Return the cosine from the scalar products of two vectors; NaN if one of them is zero."""
    return float(gram_22[0, 1] / (gram_22[0, 0] * gram_22[1, 1]).sqrt())
