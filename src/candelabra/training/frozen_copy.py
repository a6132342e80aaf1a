"""Distillation from a frozen copy of the model, which preserves the outputs of frozen heads."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch, Encoded


def frozen_heads(model: MultiTaskModel) -> list[str]:
    """Return the tasks whose heads have parameters, none of which is currently trainable."""
    heads = {task: list(head.parameters()) for task, head in model.heads.items()}
    return [
        task
        for task, parameters in heads.items()
        if parameters and not any(parameter.requires_grad for parameter in parameters)
    ]


class FrozenCopy:
    """Distillation loss between frozen heads on the trained encoder and on the initial encoder.

    Implements Learning without Forgetting (Li & Hoiem 2017). A frozen head is applied to every
    batch whose format it accepts, once with the trained encoder and once with a copy of the
    initial encoder. The loss is the divergence of the two outputs.

    The copy is not a submodule, and no checkpoint contains it: a resumed run starts from the same
    initial weights.

    Args:
        model: Model at the start of the run.
        weight: Factor of the loss.
        temperature: Softmax temperature of both outputs; 2 in the paper.

    Raises:
        ValueError: If no head is frozen.
    """

    def __init__(self, model: MultiTaskModel, *, weight: float, temperature: float = 2.0) -> None:
        self.heads = frozen_heads(model)
        if not self.heads:
            raise ValueError("distill_frozen needs a frozen head: add freeze=head freeze.head=TASK")
        self.weight = weight
        self.temperature = temperature
        self._copy = deepcopy(model).eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the copy to a device."""
        self._copy.to(device)

    def loss(self, model: MultiTaskModel, encoded: tuple[Encoded, ...], batch: Batch) -> Tensor:
        """Compute the distillation loss of a batch: its part of the global mean.

        Args:
            model: Model in training.
            encoded: Output of the model's encoder for the batch.
            batch: Batch of any task.

        Returns:
            Scalar; 0 if no frozen head accepts the batch.
        """
        readers = [head for head in self.heads if model.head(head).reads(batch)]
        total = encoded[0].hidden_BLD.new_zeros(())
        if not readers:
            return total
        with torch.no_grad():
            before = self._copy.encode(batch, readers)
        for head in readers:
            total = total + model.head(head).distillation_loss(
                model.apply_head(head, encoded, batch.first_BW),
                self._copy.apply_head(head, before, batch.first_BW),
                batch,
                self.temperature,
            )
        return self.weight * total
