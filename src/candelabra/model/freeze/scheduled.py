"""Schemes that let more of the model learn as the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from candelabra.model.freeze.base import Progress, Scheme
from candelabra.rules import at_least, number

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Gradual(Scheme):
    """Thaws the encoder from the top, one group at a time (ULMFiT, Howard & Ruder 2018).

    The heads learn from the start; then the top layer joins, the next one, and so on; the stem
    (embeddings) is the last group.

    Attributes:
        epochs_per_group: Epochs, or a part of one, until the next group joins; 1 in the paper.
        layer_decay: Discriminative rates: each layer learns by this much slower than the one
            above; 1/2.6 in the paper.
        warmup_steps: Steps in which a group that joins rises to its rate.

    Raises:
        ValueError: `epochs_per_group` or `layer_decay` is not above 0, or `warmup_steps` is below.
    """

    epochs_per_group: float = 1.0
    layer_decay: float = 1 / 2.6
    warmup_steps: int = 20

    def __post_init__(self) -> None:
        """Checks the settings."""
        number("epochs_per_group", self.epochs_per_group, above=0)
        number("layer_decay", self.layer_decay, above=0, most=1)
        at_least("warmup_steps", self.warmup_steps, 0)

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """The encoder; later its stem and the layers that have not joined yet."""
        # A little more than a whole number of groups must not fall below it by rounding.
        thawed = int(at.epochs / self.epochs_per_group + 1e-9)
        layers = model.encoder.layers
        if thawed == 0:
            return [model.encoder]
        if thawed > len(layers):
            return []
        return [*model.encoder.stem, *layers[: len(layers) - thawed]]


@dataclass(frozen=True, kw_only=True)
class LinearProbeThenFinetune(Scheme):
    """Heads and poolings alone, then the whole model at a lower rate (LP-FT, Kumar et al. 2022).

    Heads that start at random distort a pretrained encoder while they find their place. The paper
    gains little on data like the training set, and much on other data.

    Attributes:
        probe_epochs: Epochs, or a part of one, with a frozen encoder.
        probe_lr_factor: By how much higher all rates are until then.
        warmup_steps: Steps in which the encoder rises to its rate when it joins.

    Raises:
        ValueError: One of the first two is not above 0, or `warmup_steps` is below.
    """

    probe_epochs: float = 1.0
    probe_lr_factor: float = 10.0
    warmup_steps: int = 20

    def __post_init__(self) -> None:
        """Checks the settings."""
        number("probe_epochs", self.probe_epochs, above=0)
        number("probe_lr_factor", self.probe_lr_factor, above=0)
        at_least("warmup_steps", self.warmup_steps, 0)

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """The encoder, while the heads are probed."""
        return [model.encoder] if self._probes(at) else []

    def lr_factor(self, at: Progress) -> float:
        """Higher while the heads are probed."""
        return self.probe_lr_factor if self._probes(at) else 1.0

    def _probes(self, at: Progress) -> bool:
        return at.epochs < self.probe_epochs
