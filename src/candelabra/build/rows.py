"""Loading of the data of all tasks; imports no large library, so that errors appear early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candelabra.build.instantiate import make
from candelabra.config.validation import DATA_KEYS
from candelabra.data.loading import TaskData, load_task


def tasks_data(
    tasks: Mapping[str, Mapping[str, Any]], *, only: str | None = None
) -> dict[str, TaskData]:
    """Load and validate the rows of every task.

    Args:
        tasks: Settings of each task.
        only: Name of a single split to load; `None` loads all splits.

    Raises:
        DataError: A file, a row or a setting is invalid.
    """
    return {
        name: load_task(
            name,
            source=make(task["source"], f"tasks.{name}.source"),
            only=only,
            inferred=task.get("inferred", False),
            **{key: task[key] for key in DATA_KEYS if key in task},
        )
        for name, task in tasks.items()
    }
