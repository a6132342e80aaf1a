"""Texts of the test rows of a run, read again from its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.errors import InstantiationException

from candelabra.build.rows import tasks_data
from candelabra.config.environment import resolved
from candelabra.config.targets import check_targets
from candelabra.data.loading import TaskData
from candelabra.errors import UserError

FAULTS = (
    *(UserError, OSError, TypeError, ValueError, LookupError, AttributeError),
    InstantiationException,
)
"""Errors that wrong stored settings or missing data can cause."""


@dataclass(frozen=True)
class Texts:
    """Texts of the test rows of a task.

    Attributes:
        by_row: Texts of each row, by its index in the source; empty if there is a problem.
        problem: Reason why the texts cannot be shown; otherwise empty.
    """

    by_row: Mapping[int, Sequence[str]] = field(default_factory=dict)
    problem: str = ""


def read_texts(
    name: str,
    settings: Mapping[str, Any],
    *,
    fingerprint: str | None,
    data_dir: str | None = None,
    allow: Sequence[str] = (),
) -> Texts:
    """Read the texts of a task's test rows, if the data have not changed since the run.

    Args:
        name: Name of the task.
        settings: Stored settings of the task.
        fingerprint: SHA-256 of the test rows that the run recorded.
        data_dir: Folder that replaces that of the run; `None` keeps it.
        allow: Names that stored settings may use, in addition to candelabra's own.

    Raises:
        ConfigError: The settings name code that is not trusted.
    """
    check_targets(dict(settings), allow=allow, keys=("tasks", name))
    try:
        data = _data(name, settings, data_dir)
    except FAULTS as error:
        return Texts(problem=f"The data cannot be read: {' '.join(str(error).split())}")
    if data.fingerprint["test"] != fingerprint:
        return Texts(problem="The data have changed since the run: their fingerprint differs.")
    examples = data.splits["test"]
    return Texts(dict(zip(examples.rows, zip(*examples.texts, strict=True), strict=True)))


def _data(name: str, settings: Mapping[str, Any], data_dir: str | None) -> TaskData:
    source = dict(settings["source"])
    for key in ("data_dir", "folder"):
        if data_dir is not None and key in source:
            source[key] = data_dir
    source = resolved(source, where=f"tasks.{name}.source")
    return tasks_data({name: {**settings, "source": source}}, only="test")[name]
