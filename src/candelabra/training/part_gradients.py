"""Gradients of a loss in each part of the model: embeddings, layers, pooling."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from candelabra.training.module import MultiTaskModule
from candelabra.training.task_gradients import part_of
from candelabra.weighting.end_of_step import ALL

HEADS = "other"  # the name that `part_of` gives to heads


def shared_parts(module: MultiTaskModule) -> set[str]:
    """Return the names of the parts of the model that are not heads."""
    depth = len(module.model.encoder.layers)
    return {part_of(name, depth) for name, _ in module.model.named_parameters()} - {HEADS}


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
    module: MultiTaskModule, loss: Tensor, by_part: Mapping[str, list[nn.Parameter]]
) -> dict[str, Tensor]:
    """Return the flat gradient of a loss in each part, averaged over the processes.

    The graph of the loss is kept, and gradients in `.grad` stay as they are.

    Args:
        module: Module in training.
        loss: Scalar.
        by_part: Result of `trainable_in`.
    """
    parameters = [parameter for each in by_part.values() for parameter in each]
    gradients = iter(
        torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
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
