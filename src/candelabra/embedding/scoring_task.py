"""Which tasks of a bundle score pairs of texts in one sequence. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candelabra.errors import ConfigError, nearest


def no_vectors(tasks: Mapping[str, Any], task: str | None) -> str:
    """The cross-encoder, where there is nothing else: it has never read a text by itself.

    Args:
        tasks: A bundle's tasks.
        task: The one that is asked for; None: any.

    Returns:
        Its name; empty where a text's vector has a meaning.
    """
    asked = [task] if task is not None else list(tasks)
    nodes = {name: tasks[name] for name in asked if isinstance(tasks[name], Mapping)}
    crossed = [name for name, node in nodes.items() if node.get("cross")]
    return crossed[0] if crossed and len(crossed) == len(asked) else ""


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
