"""Rules of single values, with errors that name the key, the rule and what was found."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from candelabra.errors import ConfigError, nearest

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


def at_least(key: str, value: Any, least: int) -> None:
    """Raises ConfigError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key} must be a whole number of at least {least}, got {value!r}")


def number(
    key: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raises ConfigError unless `value` is a finite number within these bounds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value > above and least <= value <= most:
        return
    bounds = {"above": above, "at least": least, "at most": most}
    rule = " and ".join(f"{word} {end:g}" for word, end in bounds.items() if math.isfinite(end))
    raise ConfigError(f"{key} must be a number {rule}, got {value!r}")


def not_the_input(given: Mapping[str, str], *, keys: Iterable[str] = ("input",)) -> None:
    """Raises ConfigError where `output` is one of the files that are read."""
    output = given.get("output")
    for key in keys:
        if output and key in given and Path(given[key]).resolve() == Path(output).resolve():
            raise ConfigError(f"output={output} is {key}= too, and would replace it")


def either(command: str, given: Collection[str], **words: str) -> None:
    """Raises ConfigError unless exactly one of these keys is given.

    Args:
        command: What needs it.
        given: The keys that are given.
        words: How a message writes each key.
    """
    found = [key for key in words if key in given]
    if len(found) != 1:
        got = " and ".join(f"{key}=" for key in found) or "neither"
        raise ConfigError(f"{command} needs either {' or '.join(words.values())}, got {got}")


def one_of(key: str, value: Any, options: Iterable[str]) -> None:
    """Raises ConfigError unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(
            f"{key} must be one of {', '.join(options)}, got {value!r}{nearest(value, options)}"
        )
