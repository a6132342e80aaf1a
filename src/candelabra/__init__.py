"""candelabra: one stem, several lights. One shared text encoder, several task heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candelabra.version import __version__

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle, load


__all__ = ["Bundle", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Import `load` and `Bundle` on first use, because they need torch."""
    if name in ("Bundle", "load"):
        from candelabra.bundle import bundle

        return getattr(bundle, name)
    raise AttributeError(f"module 'candelabra' has no attribute '{name}'")
