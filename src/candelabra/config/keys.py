"""Options of keys that several commands have, and errors about unknown keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import OmegaConf

from candelabra.errors import ConfigError, nearest

TORCH, ONNX, ONNX_INT8 = BACKENDS = ("torch", "onnx", "onnx_int8")
GRAPHS = "onnx"
"""Folder of the graphs of `backend=onnx`, in the folder of all caches."""
PRECISIONS = ("32-true", "bf16-mixed", "auto")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")

NUM_PLACES = 3
"""Maximum number of places of a key that a message suggests."""


def check_known_keys(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raise ConfigError for the first key of `given` that is not in `known`.

    Args:
        where: Name of the mapping, for the message.
        given: Keys of the mapping, or the mapping itself.
        known: Allowed keys.
    """
    known = list(known)
    for key in given:
        if key not in known:
            raise ConfigError(
                f"{where} has no key '{key}'{nearest_key(key, known, given)} "
                f"(keys: {', '.join(known)})"
            )


def nearest_key(key: str, known: Iterable[str], given: Any, *, prefix: str = "") -> str:
    """Return a suggestion for an unknown key, or an empty string.

    A key of the same name at a deeper level is suggested before a key with a similar name.

    Args:
        key: The unknown key.
        known: Keys of the same mapping.
        given: The mapping, whose nodes are searched for the key.
        prefix: Dotted name of the mapping, with a final dot.
    """
    places = [f"'{prefix}{place}'" for place in _nested_places(given, key)[:NUM_PLACES]]
    return f"; did you mean {' or '.join(places)}?" if places else nearest(key, known)


def _nested_places(given: Any, key: str) -> list[str]:
    """Return the dotted names of `key` in nested mappings, those of the upper levels first."""
    is_config = OmegaConf.is_config(given)
    top = OmegaConf.to_container(given, resolve=False) if is_config else given
    places: list[str] = []
    level: list[tuple[str, Any]] = [("", top)] if isinstance(top, Mapping) else []
    while level:
        level = [
            (f"{path}{name}.", node)
            for path, parent in level
            for name, node in parent.items()
            if isinstance(node, Mapping) and name != "hydra"
        ]
        places += [f"{path}{key}" for path, node in level if key in node]
    return places
