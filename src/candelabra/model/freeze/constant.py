"""Schemes that freeze the same from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from candelabra.errors import nearest
from candelabra.model.freeze.base import Progress, Scheme

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FreezeNothing(Scheme):
    """Everything learns."""

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """No module."""
        return []


@dataclass(frozen=True)
class FreezeEncoder(Scheme):
    """The whole encoder is frozen; poolings and heads learn."""

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """The encoder."""
        return [model.encoder]


@dataclass(frozen=True)
class FreezeEmbeddings(Scheme):
    """The encoder's embedding layer is frozen."""

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """Token and position embeddings with their norm."""
        return [model.encoder.embeddings]


@dataclass(frozen=True, kw_only=True)
class FreezeLowerLayers(Scheme):
    """The stem (embeddings) and the lowest layers of the encoder are frozen (Lee et al. 2019).

    Attributes:
        num_layers: How many layers, counted from the embeddings; 0 freezes the embeddings only.
    """

    num_layers: int

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """Stem and layers.

        Raises:
            ValueError: The encoder has fewer layers, or `num_layers` is negative.
        """
        layers = model.encoder.layers
        if self.num_layers not in range(len(layers) + 1):
            raise ValueError(
                f"num_layers must lie between 0 and {len(layers)}, the number of layers of "
                f"this encoder; found {self.num_layers!r}"
            )
        return [*model.encoder.stem, *layers[: self.num_layers]]


@dataclass(frozen=True, kw_only=True)
class FreezeHead(Scheme):
    """One task's head is frozen, with a pooling or a layer mix of its own.

    An encoder that learns still moves the features it reads.

    Attributes:
        head: The name of its task.
    """

    head: str

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """The head, and what only it reads.

        Raises:
            ValueError: The model has no such head.
        """
        names = list(model.heads)
        if self.head not in names:
            raise ValueError(
                f"head must name one of the heads {names}; found {self.head!r}"
                + nearest(self.head, names)
            )
        return list(model.parts_of(self.head))


@dataclass(frozen=True, kw_only=True)
class Composition(Scheme):
    """What any of several schemes freezes: none of them thaws what another froze.

    Attributes:
        parts: The schemes, by a name of one's choice.
    """

    parts: Mapping[str, Scheme]

    @property
    def layer_decay(self) -> float:  # type: ignore[override]
        """The smallest that a part asks for."""
        return min((part.layer_decay for part in self.parts.values()), default=1.0)

    @property
    def warmup_steps(self) -> int:  # type: ignore[override]
        """The largest that a part asks for."""
        return max((part.warmup_steps for part in self.parts.values()), default=0)

    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """Each module once.

        Raises:
            ValueError: A part does not fit the model.
        """
        found: list[nn.Module] = []
        for name, part in self.parts.items():
            try:
                found += part.frozen(model, at)
            except ValueError as error:
                raise ValueError(f"parts.{name}.{error}") from error
        return list(dict.fromkeys(found))

    def lr_factor(self, at: Progress) -> float:
        """The product over the parts."""
        factor = 1.0
        for part in self.parts.values():
            factor *= part.lr_factor(at)
        return factor
