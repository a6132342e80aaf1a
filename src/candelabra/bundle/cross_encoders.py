"""Selection of the tasks of a bundle that are cross-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candelabra.errors import ConfigError, nearest


def no_vectors(tasks: Mapping[str, Any], task: str | None) -> str:
    """Return the name of a cross-encoder if all of the requested tasks are cross-encoders.

    A model trained only on pairs in one sequence has no meaningful embeddings of single texts.

    Args:
        tasks: Tasks of a bundle.
        task: Requested task, or `None` for all tasks.

    Returns:
        Name of the first cross-encoder, or an empty string if embeddings are meaningful.

    Example:
        >>> no_vectors({"match": {"cross": True}}, None)
        'match'
        >>> no_vectors({"match": {"cross": True}, "topic": {}}, None)
        ''
    """
    asked = [task] if task is not None else list(tasks)
    nodes = {name: tasks[name] for name in asked if isinstance(tasks[name], Mapping)}
    crossed = [name for name, node in nodes.items() if node.get("cross")]
    return crossed[0] if crossed and len(crossed) == len(asked) else ""


def scoring_task(
    tasks: Mapping[str, Any], labels: Mapping[str, Any], *, name: str, task: str | None = None
) -> str:
    """Return the name of the cross-encoder whose predictions are scores.

    Args:
        tasks: Tasks of a bundle.
        labels: Label names of each task.
        name: Name of the bundle for error messages.
        task: Name of the task. Required if several tasks are cross-encoders.

    Raises:
        ConfigError: There is no such task, the choice is ambiguous, or the task predicts neither a
            number nor one of two labels.
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
