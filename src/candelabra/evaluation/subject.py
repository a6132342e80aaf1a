"""Select what is evaluated: a model, its tasks and the rows of a split."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from candelabra.build.rows import tasks_data
from candelabra.build.untrained import untrained
from candelabra.bundle.bundle import Bundle, load
from candelabra.config.environment import resolved
from candelabra.config.keys import check_known_keys
from candelabra.config.plain_form import plain
from candelabra.config.validation import DATA_KEYS
from candelabra.data.loading import TaskData
from candelabra.errors import DataError, MissingSplitError, printable


@dataclass(frozen=True)
class EvaluationTarget:
    """Model and tasks to evaluate.

    Attributes:
        bundle: Bundle with the model.
        tasks: Configuration of each task.
        data: Data of each task, with the evaluated split.
        headed: Names of the tasks that the model has a head for. Other tasks are only probed.
    """

    bundle: Bundle
    tasks: dict[str, Any]
    data: dict[str, TaskData]
    headed: set[str]

    def main_keys(self, split: str) -> list[str]:
        """Return the keys of the tasks' main metrics, as `<split>/<task>/<metric>`."""
        metric = {
            name: task["main_metric"] if name in self.headed else "few_shot_accuracy"
            for name, task in self.tasks.items()
        }
        return [f"{split}/{name}/{key}" for name, key in metric.items()]


OTHER_DATA = ("source", *(key for key in DATA_KEYS if key not in ("labels", "on_bad_row")))
"""Task settings that the command may replace; the labels belong to the trained head."""


def evaluation_target(
    cfg: DictConfig, bundle: str | None, *, only: Collection[str] | None = None
) -> EvaluationTarget:
    """Load the model to evaluate, with its tasks and their rows.

    Args:
        cfg: Configuration of the command.
        bundle: Folder of the bundle; `None` selects the pretrained encoder of the configuration.
        only: Names of the evaluated tasks; `None` selects all.
    """
    if bundle is not None:
        opened = load(bundle, allow=list(cfg.allow))
        tasks = tasks_of(cfg, opened.config.tasks, opened.labels)
        tasks = {name: task for name, task in tasks.items() if only is None or name in only}
        return EvaluationTarget(opened, tasks, data_of(tasks, cfg.split), headed=set(tasks))
    tasks = {
        name: task for name, task in plain(cfg)["tasks"].items() if only is None or name in only
    }
    data = data_of(tasks, cfg.split) if tasks else {}
    model, headed = untrained(cfg, tasks, data)
    return EvaluationTarget(model, tasks, data, headed)


def data_of(tasks: Mapping[str, Any], split: str) -> dict[str, TaskData]:
    """Load one split of every task that has it, and print the names of the other tasks.

    Raises:
        DataError: No task has the split, or its rows are invalid.
    """
    data: dict[str, TaskData] = {}
    for name, task in tasks.items():
        try:
            data |= tasks_data({name: task}, only=split)
        except MissingSplitError as error:
            print(printable(f"skipped: {error}"), file=sys.stderr)
    if not data:
        raise DataError(f"no task has a {split} split")
    return data


def tasks_of(
    cfg: DictConfig, stored: Mapping[str, Any], labels: Mapping[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """Return the tasks of a bundle with the data settings of the command.

    Args:
        cfg: Configuration of the command, whose `tasks` and `data_dir` replace the data.
        stored: Task settings of the bundle.
        labels: Label names of each task of the bundle.

    Raises:
        ConfigError: The command names a task that the bundle does not have, or a path of a task is
            a variable of the environment that is not set.
    """
    other = plain(cfg)["tasks"]
    check_known_keys("tasks", other, stored)
    tasks = {}
    for name, task in stored.items():
        changed = {key: other[name][key] for key in OTHER_DATA if key in other.get(name, {})}
        source = {**changed.get("source", task["source"])}
        for key in ("data_dir", "folder"):
            if cfg.data_dir is not None and key in source:
                source[key] = cfg.data_dir
        source = resolved(source, where=f"tasks.{name}.source")
        # A task that predicts numbers has no labels: its setting is then `None`.
        settings = {
            "labels": labels[name] or None,
            "inferred": task.get("labels") is None,
            "on_bad_row": cfg.on_bad_row,
        }
        tasks[name] = {**task, **changed, **settings, "source": source}
    return tasks
