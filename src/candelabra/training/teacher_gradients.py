"""Comparison of the gradients of a task's labels with those of its teacher."""

from __future__ import annotations

from collections.abc import Collection

import torch

from candelabra.records import Batch
from candelabra.training.axes import TEACHER
from candelabra.training.module import MultiTaskModule
from candelabra.training.part_gradients import flat_gradients, grams_of, loss_terms, trainable_in
from candelabra.training.task_gradients import StepReport


def teacher_report(
    module: MultiTaskModule, task: str, batch: Batch, parts: Collection[str]
) -> StepReport | None:
    """Compute the gradients of the two terms of a taught task's loss, and compare them.

    This runs one more forward pass and two backward passes over the batch. Gradients in `.grad`
    stay as they are.

    Args:
        module: Module in training.
        task: Name of the task.
        batch: Its micro-batch.
        parts: Parts of the model to compare.

    Returns:
        Report with the losses and gradients of labels and teacher, multiplied by their weights;
        `None` if the task has no teacher, one of the terms has no weight, or nothing in `parts` is
        trainable.
    """
    teacher, by_part = module.teacher, trainable_in(module, parts)
    if teacher is None or task not in teacher.answers or not any(by_part.values()):
        return None
    if not 0 < teacher.weight < 1:
        return None
    labels, answers = loss_terms(module, task, batch)
    assert answers is not None
    grams = grams_of(
        flat_gradients(module, labels, by_part, keep_graph=True),
        flat_gradients(module, answers, by_part),
    )
    losses = torch.stack([labels, answers]).detach()
    losses = torch.as_tensor(module.trainer.strategy.reduce(losses, reduce_op="mean"))
    return StepReport((task, TEACHER), losses.cpu().double(), grams, torch.ones(2).double())
