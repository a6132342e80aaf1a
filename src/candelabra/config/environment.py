"""Paths of a task's source that name a variable of the environment; needs no Hydra.

What comes from the environment may be a secret, so its value is never stored. A path that is
`${oc.env:NAME}` and nothing else is stored as this text, and resolved when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from candelabra.errors import ConfigError

PATHS = ("train", "validation", "test", "folder", "data_dir")
"""Settings of a source that may be a variable."""
VARIABLE = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,([^${}]*))?\}")
REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
MOST_STEPS = 10


def is_variable(value: object, keys: Sequence[str]) -> bool:
    """Return whether a stored value is a variable at a place where it may be one.

    Args:
        value: The value.
        keys: Keys under which it stands.

    Example:
        >>> is_variable("${oc.env:TRAIN}", ("tasks", "t", "source", "train"))
        True
        >>> is_variable("${oc.env:TRAIN}", ("tasks", "t", "main_metric"))
        False
    """
    place = len(keys) >= 2 and keys[-2] == "source" and keys[-1] in PATHS
    return place and isinstance(value, str) and VARIABLE.fullmatch(value) is not None


def with_variables(tasks: Mapping[str, Any], raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Put the variables back into the paths of the tasks' sources.

    Args:
        tasks: Settings of each task as they are stored, with masks for the environment.
        raw: The whole configuration without any resolution.

    Returns:
        The settings of each task. What is no plain variable stays masked.
    """
    kept = {}
    for name, task in tasks.items():
        source = dict(task["source"])
        for key in PATHS:
            text = _followed(raw, f"tasks.{name}.source.{key}") if key in source else None
            if text is not None:
                source[key] = text
        kept[name] = {**task, "source": source}
    return kept


def _followed(raw: Mapping[str, Any], key: str) -> str | None:
    """Return the variable that a value is, through references such as `${data_dir}`."""
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
    """Return a source whose variables have the values of this process.

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
