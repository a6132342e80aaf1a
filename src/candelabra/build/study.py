"""Build the rule that makes one sentence of the results of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from candelabra.build.instantiate import make


def build_decision(node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the rule that a study's yaml names.

    Args:
        node: Config node `study.answer`, with a `_target_` and `_partial_`.

    Raises:
        ConfigError: The rule cannot be built.
    """
    rule: Callable[..., Any] = make(node, "study.answer")
    return rule
