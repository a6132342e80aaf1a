"""Schemes that freeze the same modules in every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from candelabra.errors import nearest
from candelabra.model.freeze.base import Scheme
from candelabra.records import TrainingProgress

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FreezeNothing(Scheme):
    """Scheme that trains the whole model."""

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return an empty list."""
        return []


@dataclass(frozen=True)
class FreezeEncoder(Scheme):
    """Scheme that freezes the whole encoder and trains poolings and heads."""

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the encoder."""
        return [model.encoder]


@dataclass(frozen=True)
class FreezeEmbeddings(Scheme):
    """Scheme that freezes the encoder's embedding layer."""

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the module with the token and position embeddings and their norm."""
        return [model.encoder.embeddings]


@dataclass(frozen=True, kw_only=True)
class FreezeLowerLayers(Scheme):
    """Scheme that freezes the embeddings and the lowest encoder layers (Lee et al. 2019).

    Attributes:
        num_layers: Number of frozen layers, counted from the embeddings. 0 freezes only the
            embeddings. A number between 0 and 1 is a fraction of the encoder's layers, rounded, so
            that it fits every encoder.
    """

    num_layers: float

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the encoder's stem and its lowest `num_layers` layers.

        Raises:
            ValueError: If `num_layers` is negative, no whole number above 1, or exceeds the
                number of encoder layers.
        """
        layers = model.encoder.layers
        is_fraction = 0 < self.num_layers < 1
        num = round(self.num_layers * len(layers)) if is_fraction else self.num_layers
        if num not in range(len(layers) + 1):
            raise ValueError(
                f"num_layers must lie between 0 and {len(layers)}, the number of layers of this "
                f"encoder, or be a fraction of them between 0 and 1, got {self.num_layers!r}"
            )
        return [*model.encoder.stem, *layers[: int(num)]]


@dataclass(frozen=True, kw_only=True)
class FreezeHead(Scheme):
    """Scheme that freezes one task's head, with its own pooling, layer mix and adapter.

    The head's inputs still change while the encoder is trained.

    Attributes:
        head: Name of the task.
    """

    head: str

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the modules that belong to the task.

        Raises:
            ValueError: If the model has no head of this name.
        """
        names = list(model.heads)
        if self.head not in names:
            raise ValueError(
                f"head must name one of the heads {names}, got {self.head!r}"
                + nearest(self.head, names)
            )
        return list(model.parts_of(self.head))


@dataclass(frozen=True, kw_only=True)
class Composition(Scheme):
    """Scheme that freezes the union of the modules that several schemes freeze.

    Attributes:
        parts: The combined schemes, under arbitrary names.
    """

    parts: Mapping[str, Scheme]

    @property
    def layer_decay(self) -> float:  # type: ignore[override]
        """Smallest layer decay of all parts."""
        return min((part.layer_decay for part in self.parts.values()), default=1.0)

    @property
    def warmup_steps(self) -> int:  # type: ignore[override]
        """Largest number of warmup steps of all parts."""
        return max((part.warmup_steps for part in self.parts.values()), default=0)

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the modules that at least one part freezes, without duplicates.

        Raises:
            ValueError: If a part does not fit the model.
        """
        modules: list[nn.Module] = []
        for name, part in self.parts.items():
            try:
                modules += part.frozen(model, at)
            except ValueError as error:
                raise ValueError(f"parts.{name}.{error}") from error
        return list(dict.fromkeys(modules))

    def lr_factor(self, at: TrainingProgress) -> float:
        """Return the product of the factors of all parts."""
        factor = 1.0
        for part in self.parts.values():
            factor *= part.lr_factor(at)
        return factor
