"""What the formats are, and what each can hold. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from candelabra.errors import ConfigError

SENTENCE_TRANSFORMERS, TRANSFORMERS, ONNX = FORMATS = (
    "sentence_transformers",
    "transformers",
    "onnx",
)

SIDES = {"head": "right", "tail": "left"}
"""Truncations that a tokenizer's file can hold -> the side that it cuts."""
MARK = "candelabra_export.json"
"""The file by which an exported folder is known; only such a folder is ever replaced."""


@dataclass
class Written:
    """What a format wrote, as the model card tells it.

    Attributes:
        library: The Hub's name of the library that opens it.
        pipeline: The Hub's name of what it does.
        usage: Python that opens and asks it; `{model}` stands for its folder or its Hub id.
        limits: What differs from the bundle, a sentence each.
        checked: The largest difference from the bundle that was found, if one was sought.
        tags: Further words to find it by.
        tables: Further sections of the card: title -> Markdown.
    """

    library: str
    pipeline: str
    usage: str
    limits: list[str] = field(default_factory=list)
    checked: float | None = None
    tags: list[str] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)


def refusal(form: str, what: str, carriers: Sequence[str] = ()) -> ConfigError:
    """The one form of a refusal: what a format cannot hold, and which formats can.

    Args:
        form: The format.
        what: What it cannot hold.
        carriers: The formats that carry it.
    """
    others = ", ".join(carriers) or "none"
    return ConfigError(f"format={form} cannot hold {what}; formats that carry it: {others}")


def check_truncation(stored: str, chosen: str | None) -> str:
    """The truncation of the exported tokenizer.

    Args:
        stored: The bundle's.
        chosen: The person's, by `truncation=`; None keeps the bundle's.

    Raises:
        ConfigError: It is none that the files of tokenizers know.
    """
    if chosen is None and stored not in SIDES:
        raise ConfigError(
            f"the bundle cuts long texts by truncation={stored}; what other tools open keeps the "
            "beginning or the end of a text: truncation=head (or tail) exports it so, and texts "
            "beyond max_length then get other answers"
        )
    if chosen is not None and chosen not in SIDES:
        raise ConfigError(f"truncation must be one of {', '.join(SIDES)}, got {chosen!r}")
    return chosen or stored


def check_task(form: str, task: str | None, config: dict[str, Any]) -> str | None:
    """The task to export alone, or None for all; where a format holds one, one must be named.

    Args:
        form: The format.
        task: What was given.
        config: The bundle's `config.json`.

    Raises:
        ConfigError: None is given where one is needed.
    """
    tasks = list(config["tasks"])
    if task is not None:
        return task
    if form == TRANSFORMERS:
        if len(tasks) == 1:
            return str(tasks[0])
        raise ConfigError(f"format={form} holds one task: task must be one of {', '.join(tasks)}")
    if "adapter" in config:
        raise ConfigError(
            f"each task of the bundle has its own adapter, and format={form} holds one encoder: "
            f"task must be one of {', '.join(tasks)}"
        )
    return None
