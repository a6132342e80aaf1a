"""Build an object from its config node, with errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from candelabra.errors import naming

Node = Mapping[str, Any]


def make(node: Node, key: str) -> Any:
    """Build the object that a config node describes.

    Args:
        node: Config node with a `_target_` and the settings of the object.
        key: Configuration key of the node, for messages.

    Raises:
        ConfigError: The object refuses its settings. The message names the key.
        InstantiationException: Hydra cannot build the object for another reason, such as an
            unknown setting.

    Example:
        >>> make({"_target_": "fractions.Fraction", "numerator": 3}, "key")
        Fraction(3, 1)
    """
    with naming(key, node):
        try:
            return instantiate(node)
        except InstantiationException as error:
            cause = error.__cause__
            if not isinstance(cause, ValueError) or isinstance(cause, OmegaConfBaseException):
                raise
            raise cause from error
