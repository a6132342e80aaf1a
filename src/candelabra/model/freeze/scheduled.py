"""Schemes that unfreeze more of the model during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from candelabra.checks import at_least, number
from candelabra.model.freeze.base import Scheme
from candelabra.records import TrainingProgress

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Gradual(Scheme):
    """Scheme that unfreezes the encoder from the top, group by group (Howard & Ruder 2018).

    This is the gradual unfreezing of ULMFiT. The heads are trained from the start. Each encoder
    layer is one group, starting with the top one; the stem (embeddings) is the last group.

    Attributes:
        epochs_per_group: Number of epochs, possibly fractional, before the next group is unfrozen;
            1 in the paper.
        layer_decay: Ratio of the learning rates of a layer and the layer above it (discriminative
            fine-tuning); 1/2.6 in the paper.
        warmup_steps: Number of steps over which the learning rate of an unfrozen group rises to
            its full value.

    Raises:
        ValueError: If `epochs_per_group` is not positive, `layer_decay` is not in (0, 1], or
            `warmup_steps` is negative.
    """

    epochs_per_group: float = 1.0
    layer_decay: float = 1 / 2.6
    warmup_steps: int = 20

    def __post_init__(self) -> None:
        """Check the settings."""
        number("epochs_per_group", self.epochs_per_group, above=0)
        number("layer_decay", self.layer_decay, above=0, most=1)
        at_least("warmup_steps", self.warmup_steps, 0)

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the encoder, or its stem and the layers that are still frozen."""
        # The small constant keeps a rounding error from delaying a group by one step.
        unfrozen = int(at.epochs / self.epochs_per_group + 1e-9)
        layers = model.encoder.layers
        if unfrozen == 0:
            return [model.encoder]
        if unfrozen > len(layers):
            return []
        return [*model.encoder.stem, *layers[: len(layers) - unfrozen]]


@dataclass(frozen=True, kw_only=True)
class LinearProbeThenFinetune(Scheme):
    """Scheme that trains heads and poolings first, then the whole model (LP-FT, Kumar et al. 2022).

    Gradients of randomly initialized heads distort the features of a pretrained encoder. The paper
    reports a small gain on in-distribution data and a large one out of distribution.

    Attributes:
        probe_epochs: Number of epochs, possibly fractional, during which the encoder is frozen.
        probe_lr_factor: Factor of all learning rates during these epochs.
        warmup_steps: Number of steps over which the encoder's learning rate rises to its full
            value after it is unfrozen.

    Raises:
        ValueError: If `probe_epochs` or `probe_lr_factor` is not positive, or `warmup_steps` is
            negative.
    """

    probe_epochs: float = 1.0
    probe_lr_factor: float = 10.0
    warmup_steps: int = 20

    def __post_init__(self) -> None:
        """Check the settings."""
        number("probe_epochs", self.probe_epochs, above=0)
        number("probe_lr_factor", self.probe_lr_factor, above=0)
        at_least("warmup_steps", self.warmup_steps, 0)

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the encoder during the probing epochs, and nothing afterwards."""
        return [model.encoder] if self._is_probing(at) else []

    def lr_factor(self, at: TrainingProgress) -> float:
        """Return `probe_lr_factor` during the probing epochs, and 1 afterwards."""
        return self.probe_lr_factor if self._is_probing(at) else 1.0

    def _is_probing(self, at: TrainingProgress) -> bool:
        return at.epochs < self.probe_epochs
