"""Distillation from trained models: the answers of teachers, and the loss against them.

Shapes: N training examples, B examples of a batch, W words, C classes, K texts of an example,
D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from candelabra.model.heads.base import Head
from candelabra.records import Batch


@dataclass(frozen=True)
class SoftAnswers:
    """Logits that a teacher gives for every training example of a task.

    Attributes:
        logits: Logits (N, C), numbers (N), or embeddings (N, K, D) of K texts; for tags the logits
            of all words of all examples, one after the other. NaN for words that the teacher did
            not read.
        starts_N: For tags the index of each example's first word, and at the end the number of
            words, (N + 1); otherwise `None`.
    """

    logits: Tensor
    starts_N: Tensor | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Return the answers themselves: they never change, and may take gigabytes."""
        return self

    def of(self, batch: Batch) -> Tensor:
        """Return the part of a batch. Tags are (B, W, C), with NaN at padding."""
        if self.starts_N is None:
            return self.logits[batch.rows_B].float()
        assert batch.first_BW is not None
        words_W = torch.arange(batch.first_BW.shape[1], device=batch.rows_B.device)
        index_BW = self.starts_N[batch.rows_B][:, None] + words_W
        inside_BW = index_BW < self.starts_N[batch.rows_B + 1][:, None]
        logits_BWC = self.logits[index_BW.clamp(max=len(self.logits) - 1)].float()
        return logits_BWC.masked_fill(~inside_BW.unsqueeze(-1), torch.nan)

    def to(self, device: torch.device) -> Self:
        """Return the answers on a device."""
        starts_N = None if self.starts_N is None else self.starts_N.to(device)
        return type(self)(self.logits.to(device), starts_N)


class Teacher:
    """Loss against the answers of teachers, as in knowledge distillation (Hinton et al. 2015).

    The loss of a task becomes `(1 - weight) * loss on labels + weight * divergence`. The divergence
    is that of the head: `T^2 KL(teacher || student)` of answers softened by the temperature T, or
    the squared difference of numbers and embeddings.

    Args:
        answers: Answers of the teacher for each task that has one.
        weight: Part of the teacher in the loss of a task, from 0 to 1.
        temperature: Divisor of both logits, above 0.

    Raises:
        ValueError: If the weight or the temperature is out of range.
    """

    def __init__(
        self, answers: Mapping[str, SoftAnswers], *, weight: float, temperature: float
    ) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, got {weight}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.answers = dict(answers)
        self.weight = weight
        self.temperature = temperature

    def to(self, device: torch.device) -> None:
        """Move the answers to a device."""
        self.answers = {task: answers.to(device) for task, answers in self.answers.items()}

    def divergence(self, task: str, head: Head, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the divergence of a batch from the teacher: its part of the global mean.

        Args:
            task: Task of the batch, which has a teacher.
            head: Head of the task.
            logits: Output of the head for the batch.
            batch: The batch.

        Returns:
            Scalar; a word that the teacher did not read adds nothing.
        """
        ours = head.soft_answers(logits, batch.first_BW)
        theirs = self.answers[task].of(batch)
        # Equal answers have no divergence, and no gradient.
        theirs = torch.where(theirs.isnan(), ours.detach().float(), theirs)
        return head.distillation_loss(ours, theirs, batch, self.temperature)
