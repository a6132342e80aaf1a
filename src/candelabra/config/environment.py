"""Paths of a task's source that name environment variables; imports no Hydra.

The value of an environment variable may be a secret, so it is never stored. A path such as
`${oc.env:DATA}/train.csv` is stored as this text and resolved when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from candelabra.errors import ConfigError

MASKED = "<from the environment>"
"""Stored in the place of a value that was read from the environment."""
PATHS = ("train", "validation", "test", "folder", "data_dir")
"""Keys of a source, and of its `files`, that may have variables."""
VARIABLE = re.compile(
    r"\$\{\s*oc\.env\s*:\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*"
    r"(?:,\s*(?P<quote>['\"]?)(?P<default>[^\\${},'\"]*?)(?P=quote)\s*)?\}"
)
REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*\}")
SPECIAL = re.compile(r"[${}]|\\$")
"""Characters that a path must not contain outside of its variables."""
MOST_STEPS = 10
"""Maximum number of references that are followed, in case they form a circle."""


def is_variable(value: object, keys: Sequence[str]) -> bool:
    """Return whether a stored value is a path with variables, at a place where one may be.

    Args:
        value: The value.
        keys: Path of the value.

    Example:
        >>> is_variable("${oc.env:DATA}/train.csv", ("tasks", "t", "source", "train"))
        True
        >>> is_variable("${oc.env:TRAIN}", ("tasks", "t", "main_metric"))
        False
    """
    above = [key for key in keys[-3:-1] if key != "files"]
    place = above[-1:] == ["source"] and keys[-1] in PATHS
    return place and isinstance(value, str) and _has_variables(value)


def _has_variables(text: str) -> bool:
    """Return whether a text consists of variables and of plain text between them."""
    between = VARIABLE.sub("\0", text).split("\0")
    return len(between) > 1 and not any(SPECIAL.search(part) for part in between)


def is_masked(value: Any) -> bool:
    """Return whether a value of the environment is masked anywhere in plain settings."""
    if isinstance(value, Mapping):
        return any(map(is_masked, value.values()))
    if isinstance(value, list):
        return any(map(is_masked, value))
    return isinstance(value, str) and value == MASKED


def with_variables(tasks: Mapping[str, Any], raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Return settings of tasks whose sources have variables in their paths again.

    Args:
        tasks: Settings of each task in which values of the environment are masked.
        raw: The whole configuration without any resolution.

    Returns:
        The settings of each task. A value that has other interpolations than variables and
        references stays masked.
    """
    kept = {}
    for name, task in tasks.items():
        written = _at(raw, f"tasks.{name}.source")
        kept[name] = {**task, "source": _unmasked(task["source"], written, raw, ("source",))}
    return kept


def _unmasked(value: Any, written: Any, raw: Mapping[Any, Any], keys: Sequence[str]) -> Any:
    if isinstance(value, Mapping) and isinstance(written, Mapping):
        return {
            key: _unmasked(inner, written.get(key), raw, (*keys, str(key)))
            for key, inner in value.items()
        }
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [_unmasked(*both, raw, keys) for both in zip(value, written, strict=True)]
    if value == MASKED and isinstance(written, str):
        text = _without_references(written, raw)
        return text if is_variable(text, keys) else value
    return value


def _at(raw: Mapping[Any, Any], key: str) -> Any:
    """Return the value under a dotted key, or `None`."""
    value: Any = raw
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _without_references(text: str, raw: Mapping[Any, Any]) -> str:
    """Return a text in which references such as `${data_dir}` are replaced by what is there."""

    def referred(match: re.Match[str]) -> str:
        value = _at(raw, match[1])
        return value if isinstance(value, str) else match[0]

    for _ in range(MOST_STEPS):
        text = REFERENCE.sub(referred, text)
    return text


def resolved(source: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return a source whose variables are replaced by their values in this process.

    Args:
        source: Settings of the source.
        where: Key of the source, for messages.

    Raises:
        ConfigError: A variable is not set and has no default, or a value was not stored.

    Example:
        >>> resolved({"train": "${oc.env:NO_SUCH_VARIABLE,rows.csv}"}, where="source")
        {'train': 'rows.csv'}
    """
    return {
        str(key): _resolved(value, ("source", str(key)), where) for key, value in source.items()
    }


def _resolved(value: Any, keys: tuple[str, ...], where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(inner, (*keys, str(key)), where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, keys, where) for inner in value]
    key = ".".join((where, *keys[1:]))
    if value == MASKED:
        raise ConfigError(
            f"{key} was read from the environment and is not stored, since it is not only text and "
            "${oc.env:NAME}; give other data"
        )
    return _value(value, key) if is_variable(value, keys) else value


def _value(text: str, key: str) -> str | None:
    def of(match: re.Match[str]) -> str:
        value = os.environ.get(match["name"], match["default"])
        if value is None:
            raise ConfigError(
                f"{key} is {text}: the environment variable {match['name']} must be set, or other "
                "data given"
            )
        return value

    whole = VARIABLE.fullmatch(text)
    unset = whole is not None and whole["name"] not in os.environ
    if whole is not None and unset and whole["default"] == "null" and not whole["quote"]:
        return None
    return VARIABLE.sub(of, text)
