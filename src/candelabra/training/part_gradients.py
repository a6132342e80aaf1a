"""Gradients of a loss in each part of the model: embeddings, layers, pooling."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from candelabra.losses.reduction import part_of_mean
from candelabra.records import Batch
from candelabra.training.module import MultiTaskModule
from candelabra.training.task_gradients import part_of
from candelabra.weighting.end_of_step import ALL

HEADS = "other"  # the name that `part_of` gives to heads


def learning_parts(module: MultiTaskModule) -> set[str]:
    """Return the names of the parts of the model, except heads, that have trainable parameters."""
    depth = len(module.model.encoder.layers)
    named = module.model.named_parameters()
    return {part_of(name, depth) for name, p in named if p.requires_grad} - {HEADS}


def loss_terms(module: MultiTaskModule, task: str, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Compute the two terms of a task's loss for a batch, each times its part in the loss.

    Args:
        module: Module in training.
        task: Name of the task.
        batch: Batch of the task.

    Returns:
        Loss on the labels, and divergence from the teacher, or `None` for a task without a teacher.
    """
    teacher, head = module.teacher, module.model.head(task)
    with module.trainer.precision_plugin.train_step_context():
        logits = module.model.forward_task(task, batch)
        total = head.loss(module.objectives[task].loss, logits, batch)
        labels = part_of_mean(total, batch.num_units)
        if teacher is None or task not in teacher.answers:
            return labels, None
        divergence = teacher.divergence(task, head, logits, batch)
    return (1 - teacher.weight) * labels, teacher.weight * divergence


def trainable_in(module: MultiTaskModule, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters of each part, in one order in every process.

    Args:
        module: Module in training.
        parts: Names of parts, as `part_of` gives them.
    """
    depth = len(module.model.encoder.layers)
    # Sorted: all processes must reduce the parts in one order, and that of a set differs.
    by_part: dict[str, list[nn.Parameter]] = {part: [] for part in sorted(parts)}
    for name, parameter in module.model.named_parameters():
        part = part_of(name, depth)
        if parameter.requires_grad and part in by_part:
            by_part[part].append(parameter)
    return by_part


def flat_gradients(
    module: MultiTaskModule,
    loss: Tensor,
    by_part: Mapping[str, list[nn.Parameter]],
    *,
    keep_graph: bool = False,
) -> dict[str, Tensor]:
    """Return the flat gradient of a loss in each part, averaged over the processes.

    Gradients in `.grad` stay as they are.

    Args:
        module: Module in training.
        loss: Scalar.
        by_part: Result of `trainable_in`.
        keep_graph: Whether another loss of the same forward pass is still to be differentiated.
    """
    parameters = [parameter for each in by_part.values() for parameter in each]
    gradients = iter(
        torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=keep_graph)
        if loss.requires_grad
        else [None] * len(parameters)
    )
    flat = {}
    for part, each in by_part.items():
        pairs = [(parameter, next(gradients)) for parameter in each]
        pieces = [(torch.zeros_like(p) if g is None else g).flatten().float() for p, g in pairs]
        gradient = torch.cat(pieces) if pieces else torch.zeros(0, device=loss.device)
        flat[part] = torch.as_tensor(module.trainer.strategy.reduce(gradient, reduce_op="mean"))
    return flat


def grams_of(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the Gram matrix (2, 2) of two gradients in each part, and in all of them together.

    Args:
        first: Part of the model -> flat gradient.
        second: The same of another loss.

    Returns:
        Part of the model -> matrix, float64 on the CPU; `all` is the last.
    """
    rows = {part: torch.stack([first[part], second[part]]) for part in first}
    grams = {part: (rows_2P @ rows_2P.T).cpu().double() for part, rows_2P in rows.items()}
    return {**grams, ALL: torch.stack([*grams.values()]).sum(0)}
