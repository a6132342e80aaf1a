"""Rules of single values, with errors that name the key, the rule and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import OmegaConf

from candelabra.errors import ConfigError, nearest

PRECISIONS = ("32-true", "bf16-mixed", "auto")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")

NUM_PLACES = 3
"""Places that a message names of all where a key stands."""


def unknown(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raises ConfigError for the first key of `given` that is not `known`."""
    known = list(known)
    for key in given:
        if key not in known:
            raise ConfigError(
                f"{where} has no key '{key}'{nearest_key(key, known, given)} "
                f"(keys: {', '.join(known)})"
            )


def nearest_key(key: str, known: Iterable[str], given: Any, *, prefix: str = "") -> str:
    """As `nearest`, but a key of that very name deeper down is what was meant.

    Args:
        key: What was given.
        known: The keys that there are beside it.
        given: The mapping that was to have it.
        prefix: What stands before `key` in its dotted name.
    """
    places = [f"'{prefix}{place}'" for place in _deeper(given, key)[:NUM_PLACES]]
    return f"; did you mean {' or '.join(places)}?" if places else nearest(key, known)


def _deeper(given: Any, key: str) -> list[str]:
    """The dotted names of `key` below the top, the least deep first."""
    is_config = OmegaConf.is_config(given)
    top = OmegaConf.to_container(given, resolve=False) if is_config else given
    found: list[str] = []
    level: list[tuple[str, Any]] = [("", top)] if isinstance(top, Mapping) else []
    while level:
        level = [
            (f"{path}{name}.", node)
            for path, above in level
            for name, node in above.items()
            if isinstance(node, Mapping) and name != "hydra"
        ]
        found += [f"{path}{key}" for path, node in level if key in node]
    return found
