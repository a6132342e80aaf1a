"""Which task of a bundle scores pairs of texts. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candelabra.errors import ConfigError, nearest


def scoring_task(
    tasks: Mapping[str, Any], labels: Mapping[str, Any], *, name: str, task: str | None = None
) -> str:
    """The task that is a cross-encoder, and whose answers are scores.

    Args:
        tasks: A bundle's tasks.
        labels: The label names of each.
        name: What messages call the bundle.
        task: Which one, where there are several.

    Raises:
        ConfigError: There is none, there are several, or its answers are no scores.
    """
    nodes = {key: node for key, node in tasks.items() if isinstance(node, Mapping)}
    found = [key for key, node in nodes.items() if node.get("cross")]
    if not found:
        raise ConfigError(f"{name}: none of its tasks is a cross-encoder (cross: true)")
    if task is None and len(found) > 1:
        raise ConfigError(f"{name}: several cross-encoders, {', '.join(found)}: name one")
    chosen = task or found[0]
    if chosen not in found:
        raise ConfigError(
            f"{name}: task must be one of {', '.join(found)}, got {chosen!r}"
            + nearest(chosen, found)
        )
    names = labels.get(chosen)
    if isinstance(names, list) and names and len(names) != 2:
        raise ConfigError(
            f"{name}: a re-ranker gives a number or one of two labels; {chosen} has "
            f"{len(names)}: {', '.join(map(str, names))}"
        )
    return chosen
