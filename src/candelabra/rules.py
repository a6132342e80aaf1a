"""Rules of single values, with errors that name the key, the rule and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from candelabra.errors import ConfigError, nearest


def unknown(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raises ConfigError for the first key of `given` that is not `known`."""
    known = list(known)
    for key in given:
        if key not in known:
            raise ConfigError(
                f"{where} has no key '{key}'{nearest(key, known)} (keys: {', '.join(known)})"
            )


def at_least(key: str, value: Any, least: int) -> None:
    """Raises ConfigError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key} must be a whole number of at least {least}, got {value!r}")


def one_of(key: str, value: Any, options: Iterable[str]) -> None:
    """Raises ConfigError unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(
            f"{key} must be one of {', '.join(options)}, got {value!r}{nearest(value, options)}"
        )
