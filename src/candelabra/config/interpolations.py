"""Check of interpolations such as `${optimizer.lr}`. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from candelabra.config.environment import MOST_STEPS
from candelabra.errors import ConfigError

REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*\}")
TO_ITSELF = ("maximum recursion depth", "Recursive interpolation", "to parent node detected")
"""Parts of the messages of OmegaConf about a value that is made from itself."""


def check_interpolations(cfg: Container) -> None:
    """Check that every interpolation of a configuration can be resolved.

    Raises:
        ConfigError: An interpolation points to nothing, to itself or to a value of a wrong type,
            or its resolver fails.
    """
    for parent, name in _interpolations(cfg):
        _check(parent, name)


def check_interpolation(cfg: Any, key: str, *, steps: int = 0) -> None:
    """Check that the interpolation under a dotted key can be resolved, if there is one.

    Args:
        cfg: The configuration.
        key: Dotted key.
        steps: Number of references that led to the key.

    Raises:
        ConfigError: As in `check_interpolations`.
    """
    above, _, name = key.rpartition(".")
    try:
        parent = OmegaConf.select(cfg, above) if above else cfg
        if not isinstance(parent, DictConfig) or not OmegaConf.is_interpolation(parent, name):
            return
    except (OmegaConfBaseException, RecursionError):
        return  # There is no such key, or what is above is checked as an interpolation itself.
    _check(parent, name, steps)


def _check(parent: Container, name: Any, steps: int = 0) -> None:
    node = parent._get_node(name)
    try:
        value = parent[name]
        if isinstance(value, Container):
            OmegaConf.to_container(value, resolve=True)
        nothing = value is None and isinstance(node, Container) and node._is_optional()
        if isinstance(node, Container) and not nothing and not isinstance(value, type(node)):
            kind = "list" if isinstance(node, ListConfig) else "mapping"
            raise ValidationError(f"a {kind} is needed, found {value!r}")
    except (OmegaConfBaseException, RecursionError) as error:
        text = str(node._value()) if isinstance(node, Node) else str(node)
        # The fault may be that of a value to which this one points.
        for reference in REFERENCE.findall(text) if steps < MOST_STEPS else ():
            check_interpolation(parent._get_root(), reference, steps=steps + 1)
        key = parent._get_full_key(name)
        raise ConfigError(f"{key} is {text!r}: {_reason(error)}") from error


def _interpolations(node: Any) -> Iterator[tuple[Container, Any]]:
    """Yield the parent and the key of each interpolation."""
    if not isinstance(node, (DictConfig, ListConfig)) or node._is_none() or node._is_missing():
        return
    names: list[Any] = [*node] if isinstance(node, DictConfig) else [*range(len(node))]
    for name in names:
        if OmegaConf.is_interpolation(node, name):
            yield node, name
        else:
            yield from _interpolations(node._get_node(name))


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, RecursionError) or any(part in text for part in TO_ITSELF):
        return "it points to itself"
    return " ".join(text.splitlines()[0].split())
