"""Paths of a task's source that name an environment variable; imports no Hydra.

The value of an environment variable may be a secret, so it is never stored. A path that is exactly
`${oc.env:NAME}` is stored as this text and resolved when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from candelabra.errors import ConfigError

PATHS = ("train", "validation", "test", "folder", "data_dir")
"""Keys of a source that may be a variable."""
VARIABLE = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,([^${}]*))?\}")
REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
MOST_STEPS = 10
"""Maximum number of references that are followed, in case they form a circle."""


def is_variable(value: object, keys: Sequence[str]) -> bool:
    """Return whether a stored value is a variable at a place where it may be one.

    Args:
        value: The value.
        keys: Path of the value.

    Example:
        >>> is_variable("${oc.env:TRAIN}", ("tasks", "t", "source", "train"))
        True
        >>> is_variable("${oc.env:TRAIN}", ("tasks", "t", "main_metric"))
        False
    """
    place = len(keys) >= 2 and keys[-2] == "source" and keys[-1] in PATHS
    return place and isinstance(value, str) and VARIABLE.fullmatch(value) is not None


def with_variables(tasks: Mapping[str, Any], raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Return settings of tasks whose sources have variables as paths again.

    Args:
        tasks: Settings of each task in which values of the environment are masked.
        raw: The whole configuration without any resolution.

    Returns:
        The settings of each task. A value that is more than a variable stays masked.
    """
    kept = {}
    for name, task in tasks.items():
        source = dict(task["source"])
        for key in PATHS:
            text = _variable_of(raw, f"tasks.{name}.source.{key}") if key in source else None
            if text is not None:
                source[key] = text
        kept[name] = {**task, "source": source}
    return kept


def _variable_of(raw: Mapping[str, Any], key: str) -> str | None:
    """Return the variable at `key`, following references such as `${data_dir}`, or `None`."""
    for _ in range(MOST_STEPS):
        value: Any = raw
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, str):
            return None
        if VARIABLE.fullmatch(value):
            return value
        reference = REFERENCE.fullmatch(value)
        if reference is None:
            return None
        key = reference[1]
    return None


def resolved(source: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return a source whose variables are replaced by their values in this process.

    Args:
        source: Settings of the source.
        where: Key of the source, for messages.

    Raises:
        ConfigError: A variable is not set and has no default.

    Example:
        >>> resolved({"train": "${oc.env:NO_SUCH_VARIABLE,rows.csv}"}, where="source")
        {'train': 'rows.csv'}
    """
    return {
        key: _value(value, f"{where}.{key}") if is_variable(value, ("source", key)) else value
        for key, value in source.items()
    }


def _value(text: str, key: str) -> str | None:
    match = VARIABLE.fullmatch(text)
    assert match is not None
    name, default = match[1], match[2]
    value = os.environ.get(name, default)
    if value is None:
        raise ConfigError(
            f"{key} is {text}: the environment variable {name} must be set, or other data given"
        )
    return None if name not in os.environ and value.strip() == "null" else value
