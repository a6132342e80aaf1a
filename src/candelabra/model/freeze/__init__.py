"""Freeze schemes, which decide what is trained and when, and the `Freezer` that applies them."""

from candelabra.model.freeze.constant import (
    Composition,
    FreezeEmbeddings,
    FreezeEncoder,
    FreezeHead,
    FreezeLowerLayers,
    FreezeNothing,
)
from candelabra.model.freeze.scheduled import Gradual, LinearProbeThenFinetune

__all__ = [
    "Composition",
    "FreezeEmbeddings",
    "FreezeEncoder",
    "FreezeHead",
    "FreezeLowerLayers",
    "FreezeNothing",
    "Gradual",
    "LinearProbeThenFinetune",
]
