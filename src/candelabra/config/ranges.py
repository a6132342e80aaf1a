"""Check of the type and range of every key of a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from candelabra.config.common_rules import NODES
from candelabra.config.key_rules import HYDRA_RULES, RULES
from candelabra.config.keys import nearest_key
from candelabra.config.rules import Rule
from candelabra.config.targets import TARGET, trusted_targets
from candelabra.errors import ConfigError

OF_SEVERAL = ("callbacks", "logger")
"""Groups that hold several objects by name, and are none themselves."""


def check_ranges(cfg: DictConfig) -> None:
    """Check the type and range of every key.

    Nodes of other classes, from yamls of the user, are skipped.

    Args:
        cfg: Resolved configuration of a command.

    Raises:
        ConfigError: A value is of the wrong type or outside its range, or a class does not have
            a key.
    """
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    for group in OF_SEVERAL:
        if TARGET in (container.get(group) or ()):
            raise ConfigError(
                f"{group}.{TARGET} must not be set: {group} holds objects by name, each of which "
                f"has its own {TARGET}"
            )
    # Other settings are made from the paths, whose key a message should name.
    first = {key: container[key] for key in ("paths",) if key in container}
    for path, value, parent in _walk({**first, **container}, ()):
        _check(path, value, parent)


def rule_of(path: tuple[str, ...]) -> Rule | None:
    """Return the rule of a key, or `None` if there is none.

    Example:
        >>> rule_of(("no", "such", "key")) is None
        True
    """
    if path[-1] in HYDRA_RULES:
        return HYDRA_RULES[path[-1]]
    joined = "/".join(path)
    return next((rule for pattern, rule in _patterns() if pattern.fullmatch(joined)), None)


def _check(path: tuple[str, ...], value: Any, parent: Mapping[str, Any]) -> None:
    key = ".".join(path)
    if value == "???":
        raise ConfigError(f"{key} must be given: add {key}=VALUE")
    rule = rule_of(path)
    if rule is not None:
        rule(key, value)
    elif parent.get("_partial_") and str(parent.get(TARGET)).startswith("candelabra."):
        # Any class refuses an unknown key when it is called; a partial is called late.
        known = _sibling_keys(path)
        raise ConfigError(
            f"no key '{key}'{nearest_key(path[-1], known, {})} "
            f"(keys of {'.'.join(path[:-1])}: {', '.join(sorted(parent.keys() - {path[-1]}))})"
        )


def _walk(
    node: Mapping[Any, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Mapping[str, Any]]]:
    """Yield the path, the value and the parent of each key that can have a rule."""
    target = node.get(TARGET)
    if isinstance(target, str) and target not in trusted_targets():
        return
    for name, value in node.items():
        place = (*path, str(name))
        yield place, value, node
        # Other rules check their mapping as a whole.
        if isinstance(value, Mapping) and rule_of(place) in (*NODES, None):
            yield from _walk(value, place)


def _sibling_keys(path: tuple[str, ...]) -> list[str]:
    """Return the last names of the keys that have rules and the same parent as a path."""
    depth = len(path)
    names = (key.split(".") for key in RULES)
    return [
        parts[-1]
        for parts in names
        if len(parts) == depth
        and all(part in ("*", given) for part, given in zip(parts[:-1], path[:-1], strict=True))
    ]


@cache
def _patterns() -> list[tuple[re.Pattern[str], Rule]]:
    return [(re.compile(_regex(key)), rule) for key, rule in RULES.items()]


def _regex(key: str) -> str:
    parts = {"*": "[^/]+", "**": ".+"}
    return "/".join(parts.get(part, re.escape(part)) for part in key.split("."))
