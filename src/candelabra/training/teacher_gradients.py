"""Comparison of the gradients of a task's labels with those of its teacher."""

from __future__ import annotations

from collections.abc import Collection

import torch

from candelabra.losses.reduction import part_of_mean
from candelabra.records import Batch
from candelabra.training.axes import TEACHER
from candelabra.training.module import MultiTaskModule
from candelabra.training.part_gradients import flat_gradients, grams_of, trainable_in
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
    teacher = module.teacher
    by_part = trainable_in(module, parts)
    if teacher is None or task not in teacher.answers or not any(by_part.values()):
        return None
    if not 0 < teacher.weight < 1:
        return None
    head = module.model.head(task)
    with module.trainer.precision_plugin.train_step_context():
        logits = module.model.forward_task(task, batch)
        total = head.loss(module.objectives[task].loss, logits, batch)
        on_labels = (1 - teacher.weight) * part_of_mean(total, batch.num_units)
        of_teacher = teacher.weight * teacher.divergence(task, head, logits, batch)
    grams = grams_of(
        flat_gradients(module, on_labels, by_part), flat_gradients(module, of_teacher, by_part)
    )
    losses = torch.stack([on_labels, of_teacher]).detach().cpu().double()
    return StepReport((task, TEACHER), losses, grams, torch.ones(2, dtype=torch.float64))
