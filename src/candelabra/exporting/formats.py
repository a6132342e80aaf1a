"""Names and limits of the export formats. Importing this module is fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from candelabra.errors import ConfigError

if TYPE_CHECKING:
    from candelabra.bundle.config import BundleConfig

SENTENCE_TRANSFORMERS, TRANSFORMERS, ONNX = FORMATS = (
    "sentence_transformers",
    "transformers",
    "onnx",
)
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")

SIDES = {"head": "right", "tail": "left"}
"""Truncations that a tokenizer file can represent -> the side that is truncated."""
MARK = "candelabra_export.json"
"""File that marks a folder as an export. Only such folders are replaced."""


@dataclass
class ExportResult:
    """Description of an export for the model card.

    Attributes:
        library: Library that loads the export, as the Hub names it.
        pipeline: Pipeline type, as the Hub names it.
        usage: Example code in Python; `{model}` is replaced by the folder or the Hub id.
        limits: Differences from the bundle, one sentence each.
        checked: Largest absolute difference from the bundle's outputs, or `None` if not measured.
        tags: Additional search tags for the Hub.
        tables: Additional sections of the card, title -> Markdown.
    """

    library: str
    pipeline: str
    usage: str
    limits: list[str] = field(default_factory=list)
    checked: float | None = None
    tags: list[str] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)


def refusal(form: str, what: str, carriers: Sequence[str] = ()) -> ConfigError:
    """Return the error for a part of a bundle that a format cannot represent.

    Args:
        form: Name of the format.
        what: The part that it cannot represent.
        carriers: Formats that can represent it.
    """
    others = ", ".join(carriers) or "none"
    return ConfigError(f"format={form} cannot hold {what}; formats that carry it: {others}")


def check_prompt(form: str, prompt: str) -> None:
    """Raise an error if the bundle puts a prompt before each text.

    Args:
        form: Name of a format that has no place for a prompt.
        prompt: The prompt; empty for none.

    Raises:
        ConfigError: If there is a prompt.
    """
    if prompt:
        raise refusal(form, f"the prompt {prompt!r} of the encoder", (SENTENCE_TRANSFORMERS,))


def check_truncation(stored: str, chosen: str | None) -> str:
    """Return the truncation of the exported tokenizer.

    Args:
        stored: Truncation of the bundle.
        chosen: Value of the override `truncation=`. `None` keeps the bundle's truncation.

    Raises:
        ConfigError: If a tokenizer file cannot represent the truncation.
    """
    if chosen is None and stored not in SIDES:
        raise ConfigError(
            f"the bundle truncates long texts with truncation={stored}; other tools can only keep "
            "the beginning or the end of a text: choose truncation=head or truncation=tail; texts "
            "beyond max_length then get other predictions"
        )
    if chosen is not None and chosen not in SIDES:
        raise ConfigError(f"truncation must be one of {', '.join(SIDES)}, got {chosen!r}")
    return chosen or stored


def check_task(form: str, task: str | None, config: BundleConfig) -> str | None:
    """Return the single task to export, or `None` for all tasks.

    Args:
        form: Name of the format.
        task: Task requested by the user, if any.
        config: Configuration of the bundle.

    Raises:
        ConfigError: If no task is given although the export can contain only one.
    """
    tasks = list(config.tasks)
    if task is not None:
        return task
    if form == TRANSFORMERS:
        if len(tasks) == 1:
            return tasks[0]
        raise ConfigError(f"format={form} holds one task: task must be one of {', '.join(tasks)}")
    if config.adapter is not None:
        raise ConfigError(
            f"each task of the bundle has its own adapter, and format={form} holds one encoder: "
            f"task must be one of {', '.join(tasks)}"
        )
    return None
