"""candelabra: one stem, several lights. One shared text encoder, several task heads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from candelabra.version import __version__

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle, load
    from candelabra.run.from_python import TrainedRun, compose, train


__all__ = ["Bundle", "TrainedRun", "__version__", "compose", "load", "train"]

_MODULES = {
    "Bundle": "candelabra.bundle.bundle",
    "load": "candelabra.bundle.bundle",
    "TrainedRun": "candelabra.run.from_python",
    "compose": "candelabra.run.from_python",
    "train": "candelabra.run.from_python",
}
"""Modules that are imported on first use, because they need torch or Hydra."""


def __getattr__(name: str) -> object:
    """Import `load`, `compose`, `train` and their classes on first use."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'candelabra' has no attribute '{name}'")
