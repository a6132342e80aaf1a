"""Build an object from its config node, with errors that name the key."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf.errors import OmegaConfBaseException

from candelabra.config.key_rules import HYDRA_RULES
from candelabra.errors import ConfigError, naming, nearest

Node = Mapping[str, Any]


def make(node: Node, key: str) -> Any:
    """Build the object that a config node describes.

    Args:
        node: Config node with a `_target_` and the settings of the object.
        key: Configuration key of the node, for messages.

    Raises:
        ConfigError: The object refuses its settings, or has no setting of that name. The message
            names the key.
        InstantiationException: Hydra cannot build the object for another reason.

    Example:
        >>> make({"_target_": "fractions.Fraction", "numerator": 3}, "key")
        Fraction(3, 1)
    """
    with naming(key, node):
        try:
            return instantiate(node)
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, TypeError):
                _check_names(node, key)
            if not isinstance(cause, ValueError) or isinstance(cause, OmegaConfBaseException):
                raise
            raise cause from error


def _check_names(node: Node, key: str) -> None:
    """Check that an object has all settings of its node.

    Raises:
        ConfigError: It has no setting of that name.
    """
    parameters = inspect.signature(get_object(node["_target_"])).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters]
    for name in node:
        if name not in known and name not in HYDRA_RULES:
            keys = ", ".join(known) or "none"
            raise ConfigError(
                f"no key '{key}.{name}'{nearest(name, known)} (keys of {key}: {keys})"
            )
