"""Config -> the tasks' rows. Imports nothing heavy, so that a broken row is named at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate

from candelabra.data.loading import TaskData, load_task
from candelabra.validation import DATA_KEYS


def tasks_data(
    tasks: Mapping[str, Mapping[str, Any]], *, only: str | None = None
) -> dict[str, TaskData]:
    """Loads and validates every task's rows; of one split, where `only` names it."""
    return {
        name: load_task(
            name,
            source=instantiate(task["source"]),
            only=only,
            inferred=task.get("inferred", False),
            **{key: task[key] for key in DATA_KEYS if key in task},
        )
        for name, task in tasks.items()
    }
