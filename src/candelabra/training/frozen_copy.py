"""Holds heads that are frozen beside a moving encoder, by a frozen copy of the model."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch, Encoded


def frozen_heads(model: MultiTaskModel) -> list[str]:
    """The tasks whose heads do not learn at present; one without parameters never could."""
    heads = {task: list(head.parameters()) for task, head in model.heads.items()}
    return [
        task
        for task, parameters in heads.items()
        if parameters and not any(parameter.requires_grad for parameter in parameters)
    ]


class FrozenCopy:
    """Holds the answers of frozen heads by a copy of the model as it was at the start.

    Learning without forgetting (Li & Hoiem 2017): every batch that a frozen head can read is also
    answered by that head on the copy's encoder; the loss is how far the two answers are apart.

    The copy is no part of the model: no checkpoint holds it, since a run starts from the same
    weights again when it is resumed.

    Args:
        model: At the start of the run.
        weight: What the loss is multiplied by.
        temperature: Softens both answers; 2 in the paper.

    Raises:
        ValueError: No head is frozen.
    """

    def __init__(self, model: MultiTaskModel, *, weight: float, temperature: float = 2.0) -> None:
        self.heads = frozen_heads(model)
        if not self.heads:
            raise ValueError("distill_frozen needs a frozen head: add freeze=head freeze.head=TASK")
        self.weight = weight
        self.temperature = temperature
        self._copy = deepcopy(model).eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Moves the copy."""
        self._copy.to(device)

    def loss(self, model: MultiTaskModel, encoded: tuple[Encoded, ...], batch: Batch) -> Tensor:
        """How far the frozen heads have moved apart on a batch: its part of the global mean.

        Args:
            model: The model in training.
            encoded: What its encoder made of the batch.
            batch: Of any task.
        """
        readers = [head for head in self.heads if model.head(head).reads(batch)]
        total = encoded[0].hidden_BLD.new_zeros(())
        if not readers:
            return total
        with torch.no_grad():
            before = self._copy.encode(batch, readers)
        for head in readers:
            total = total + model.head(head).divergence(
                model.answer(head, encoded, batch.first_BW),
                self._copy.answer(head, before, batch.first_BW),
                batch,
                self.temperature,
            )
        return self.weight * total
