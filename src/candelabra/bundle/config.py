"""The configuration of a bundle: what `config.json` holds, as a type."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candelabra.config.targets import NAME, TARGET
from candelabra.errors import BundleError
from candelabra.version import __version__

FORMAT = 1
"""Number of the layout of a bundle's folder; another number is refused."""
BOOLEANS = ("layer_mix", "cross", "train")
"""Keys of a task that are true or false, or missing."""


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """All that rebuilds a trained model besides its weights, as plain values.

    Attributes:
        pooling: Node of the pooling that all tasks without their own use.
        tasks: Settings of each task, with the node of its head.
        max_length: Number of tokens to which a text is cut.
        truncation: Name of the rule by which a text is cut.
        prompt: Text in front of every text, or `None`.
        normalize: Whether embeddings have unit length.
        adapter: Node of the adapters if each task has its own, else `None`.
        judged_by_part: Split -> part of its batches that was evaluated; whole splits are missing.
    """

    pooling: Mapping[str, Any]
    tasks: Mapping[str, Any]
    max_length: int
    truncation: str
    prompt: str | None = None
    normalize: bool = True
    adapter: Mapping[str, Any] | None = None
    judged_by_part: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `config.json`."""
        stored = {"format": FORMAT, "candelabra": __version__, **vars(self)}
        optional = ("adapter", "prompt")
        return {
            key: value for key, value in stored.items() if key not in optional or value is not None
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], *, file: Path) -> BundleConfig:
        """Check the contents of `config.json` and return them.

        Args:
            stored: Contents of the file; keys that this version does not know are ignored.
            file: Path of the file for error messages.

        Raises:
            BundleError: The format is another one, a key is missing, or a value has another type.
        """
        check_format(stored, file=file)
        for key in ("tasks", "pooling", "max_length", "truncation"):
            if key not in stored:
                raise BundleError(f"{file}: lacks {key!r}")
        _check_tasks(file, stored["tasks"])
        for key in ("pooling", "adapter"):
            if key in stored:
                _check_node(file, key, stored[key])
        for key, (kind, rule) in _KINDS.items():
            if key in stored and type(stored[key]) is not kind:
                raise _wrong(file, key, rule, stored[key])
        return cls(**{key: stored[key] for key in cls.__dataclass_fields__ if key in stored})


_KINDS: dict[str, tuple[type, str]] = {
    "max_length": (int, "a whole number"),
    "truncation": (str, "a text"),
    "prompt": (str, "a text"),
    "normalize": (bool, "true or false"),
    "judged_by_part": (dict, "an object of parts by split"),
}


def check_format(stored: Mapping[str, Any], *, file: Path) -> None:
    """Raise `BundleError` unless the file states the format of this version."""
    found = stored.get("format")
    if type(found) is not int or found != FORMAT:
        raise BundleError(
            f"{file}: format must be {FORMAT}, got {reprlib.repr(found)}: another version of "
            "candelabra wrote this bundle"
        )


def _check_tasks(file: Path, tasks: Any) -> None:
    if not isinstance(tasks, dict) or not tasks:
        raise _wrong(file, "tasks", "an object of tasks", tasks)
    for name, task in tasks.items():
        # A task's name becomes part of keys and file names.
        if not NAME.fullmatch(name):
            shown = reprlib.repr(name)
            raise BundleError(f"{file}: a task's name must match {NAME.pattern}, found {shown}")
        _check_task(file, f"tasks.{name}", task)


def _check_task(file: Path, key: str, task: Any) -> None:
    if not isinstance(task, dict):
        raise _wrong(file, key, "an object", task)
    _check_node(file, f"{key}.head", task.get("head"))
    if task.get("pooling") is not None:
        _check_node(file, f"{key}.pooling", task["pooling"])
    for each in BOOLEANS:
        if type(task.get(each, False)) is not bool:
            raise _wrong(file, f"{key}.{each}", "true or false", task[each])


def _check_node(file: Path, key: str, node: Any) -> None:
    if not isinstance(node, dict) or TARGET not in node:
        raise _wrong(file, key, f"an object with {TARGET}", node)


def _wrong(file: Path, key: str, rule: str, found: Any) -> BundleError:
    return BundleError(f"{file}: {key} must be {rule}, found {reprlib.repr(found)}")
