"""The types and names in a bundle's `config.json` and `labels.json`."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candelabra.bundle.folder import read_json
from candelabra.config.targets import NAME, TARGET
from candelabra.errors import BundleError

TRUTHS = ("layer_mix", "cross", "train")
"""What a task says with true or false; it may lack each of them."""


def stored_labels(folder: Path) -> dict[str, list[str]]:
    """Return the labels of each task in a bundle's `labels.json`.

    Raises:
        BundleError: They are no lists of names, or name one twice.
    """
    file = folder / "labels.json"
    labels = read_json(file)
    for task, names in labels.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BundleError(
                f"{file}: labels of {task} must be a list of names, found {reprlib.repr(names)}"
            )
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise BundleError(f"{file}: labels of {task} must differ, found {twice!r} twice")
    return labels


def check_config(file: Path, config: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
    """Refuse values of other types than we write.

    Args:
        file: `config.json`, for the messages.
        config: What stands in it.
        labels: The labels of each task.

    Raises:
        BundleError: A value is of another type, or the tasks are not those of the labels.
    """
    for key in ("tasks", "pooling", "max_length", "truncation"):
        if key not in config:
            raise BundleError(f"{file}: lacks {key!r}")
    tasks = config["tasks"]
    if not isinstance(tasks, dict) or not tasks:
        raise _wrong(file, "tasks", "an object of tasks", tasks)
    for name, task in tasks.items():
        # Names become keys and file names, so they are words.
        if not NAME.fullmatch(name):
            raise BundleError(f"{file}: a task's name must match {NAME.pattern}, found {name!r}")
        _check_task(file, name, task)
    if tasks.keys() != labels.keys():
        names = sorted(tasks.keys() ^ labels.keys())
        raise BundleError(f"{file}: the tasks and those of labels.json differ: {names}")
    for key in ("pooling", "adapter"):
        if key in config:
            _check_node(file, key, config[key])
    if type(config["max_length"]) is not int:
        raise _wrong(file, "max_length", "a whole number", config["max_length"])
    if type(config["truncation"]) is not str:
        raise _wrong(file, "truncation", "a text", config["truncation"])
    if type(config.get("normalize", True)) is not bool:
        raise _wrong(file, "normalize", "true or false", config["normalize"])


def _check_task(file: Path, name: str, task: Any) -> None:
    key = f"tasks.{name}"
    if not isinstance(task, dict):
        raise _wrong(file, key, "an object", task)
    _check_node(file, f"{key}.head", task.get("head"))
    if task.get("pooling") is not None:
        _check_node(file, f"{key}.pooling", task["pooling"])
    for each in TRUTHS:
        if type(task.get(each, False)) is not bool:
            raise _wrong(file, f"{key}.{each}", "true or false", task[each])


def _check_node(file: Path, key: str, node: Any) -> None:
    if not isinstance(node, dict) or TARGET not in node:
        raise _wrong(file, key, f"an object with {TARGET}", node)


def _wrong(file: Path, key: str, rule: str, found: Any) -> BundleError:
    return BundleError(f"{file}: {key} must be {rule}, found {reprlib.repr(found)}")
