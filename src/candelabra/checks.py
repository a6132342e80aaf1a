"""Check single values; each error names the key, the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from candelabra.errors import ConfigError, nearest


def at_least(key: str, value: Any, least: int) -> None:
    """Raise ConfigError unless `value` is a whole number of at least `least`."""
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
    """Raise ConfigError unless `value` is a finite number within the bounds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value > above and least <= value <= most:
        return
    bounds = {"above": above, "at least": least, "at most": most}
    rule = " and ".join(f"{word} {end:g}" for word, end in bounds.items() if math.isfinite(end))
    raise ConfigError(f"{key} must be a number{rule and f' {rule}'}, got {value!r}")


def one_of(key: str, value: Any, options: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(
            f"{key} must be one of {', '.join(options)}, got {value!r}{nearest(value, options)}"
        )


def installed(setting: str, packages: Iterable[str], *, extra: str) -> None:
    """Raise ConfigError unless the packages that a setting needs are installed.

    Args:
        setting: The setting, such as `format=onnx`.
        packages: Names of the packages.
        extra: Extra of candelabra that installs them.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(
                f'{setting} needs the package {package}: pip install "candelabra[{extra}]"'
            )
