"""Rules of single values; their errors name the key, the rule and the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from candelabra.checks import at_least, number
from candelabra.errors import ConfigError, nearest

Rule = Callable[[str, Any], None]
"""Function (key, value) that raises ConfigError if the value is not allowed."""

MOST = 2**31 - 1
"""Largest whole number of a setting; a larger one would overflow in torch or numpy."""


def whole(least: int = 0, most: int = MOST) -> Rule:
    """Return the rule of a whole number from `least` to `most`."""

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        at_least(key, value, least)
        if value > most:
            raise ConfigError(f"{key} must be at most {most}, got {value}")

    return check


def real(*, below: float | None = None, **bounds: float) -> Rule:
    """Return the rule of a finite number.

    Args:
        below: Number that the value must not reach.
        bounds: Bounds as in `number`: `above`, `least`, `most`.
    """

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        number(key, value, **bounds)
        if below is not None and value >= below:
            raise ConfigError(f"{key} must be below {below:g}, got {value!r}")

    return check


def text(key: str, value: Any) -> None:
    """Raise ConfigError unless the value is text.

    Raises:
        ConfigError: The value is something else, such as a number, which quotes turn into text.
    """
    if isinstance(value, str):
        return
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    hint = f"; quotes make it text: '{key}=\"{value}\"'" if plain else ""
    raise ConfigError(f"{key} must be text, got {value!r}{hint}")


def flag(key: str, value: Any) -> None:
    """Raise ConfigError unless the value is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false, got {value!r}")


def choice(*options: str | int) -> Rule:
    """Return the rule of a value that is one of `options`."""

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        # In Python `True == 1`.
        if isinstance(value, bool) or value not in options:
            names = list(dict.fromkeys(map(str, options)))
            meant = nearest(value, names)
            raise ConfigError(f"{key} must be one of {', '.join(names)}, got {value!r}{meant}")

    return check


def optional(rule: Rule) -> Rule:
    """Return a rule that allows null, too."""

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        if value is not None:
            rule(key, value)

    return check


def list_of(rule: Rule, *, length: int | None = None) -> Rule:
    """Return the rule of a list whose values follow `rule`.

    Args:
        rule: Rule of each value.
        length: Length of the list; `None` allows any.
    """

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        if not isinstance(value, list) or length not in (None, len(value)):
            size = "" if length is None else f" of {length} values"
            raise ConfigError(f"{key} must be a list{size}, got {value!r}")
        for place, item in enumerate(value):
            rule(f"{key}[{place}]", item)

    return check


def mapping_of(rule: Rule, *, keys: Iterable[str] = ()) -> Rule:
    """Return the rule of a mapping whose values follow `rule`.

    Args:
        rule: Rule of each value.
        keys: Allowed keys; without any, all keys are allowed.
    """
    allowed = tuple(keys)

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        example = f"{{{allowed[0] if allowed else 'KEY'}: VALUE}}"
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} must be a mapping such as {example}, got {value!r}")
        for name, item in value.items():
            if allowed:
                choice(*allowed)(f"{key}: a key", name)
            rule(f"{key}.{name}", item)

    return check


def settings(key: str, value: Any) -> None:
    """Raise ConfigError unless the value is a mapping of further keys."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} must be settings (a mapping of keys), got {value!r}")


def checked_elsewhere(key: str, value: Any) -> None:
    """Accept any value; the object that is built from it, before data are read, checks it."""


def node_of_a_task(key: str, value: Any) -> None:
    """Accept any value; `validate_task` checks it, with a message about the group of the node.

    The keys of the node have rules of their own.
    """


def either(words: str, *rules: Rule) -> Rule:
    """Return the rule of a value that one of several rules allows.

    Args:
        words: What the value must be, for the message.
        rules: The rules.
    """

    def check(key: str, value: Any) -> None:
        """Raise ConfigError unless the value follows the rule."""
        if not any(allows(rule, key, value) for rule in rules):
            raise ConfigError(f"{key} must be {words}, got {value!r}")

    return check


def allows(rule: Rule, key: str, value: Any) -> bool:
    """Return whether a rule allows a value."""
    try:
        rule(key, value)
    except ConfigError:
        return False
    return True


def count_or_part(words: str, *, least: int = 1) -> Rule:
    """Return the rule of a whole number of at least `least`, or a fraction up to 1.0.

    Args:
        words: What the whole number counts.
        least: Smallest whole number; 0 allows the fraction 0.0, too.
    """

    def part(key: str, value: Any) -> None:
        """Raise ConfigError unless the value is a fraction in the range."""
        bounds = {"least": 0.0} if least == 0 else {"above": 0.0}
        if not isinstance(value, float):
            raise ConfigError(f"{key} must be a fraction, got {value!r}")
        number(key, value, most=1, **bounds)

    start = "from 0" if least == 0 else "above 0 and"
    return either(
        f"a part {start} up to 1.0, or a whole number of at least {least} {words}",
        whole(least),
        part,
    )
