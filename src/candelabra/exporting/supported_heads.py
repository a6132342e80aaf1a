"""Check whether a format can represent a head, by the `formats` of its class."""

from __future__ import annotations

from candelabra.exporting.formats import refusal
from candelabra.model.heads.base import Head


def check_head(form: str, task: str, head: Head) -> None:
    """Raise an error unless the format can represent a task's head.

    Args:
        form: Name of the format.
        task: Name of the task.
        head: The head.

    Raises:
        ConfigError: If the class of the head does not list the format in `formats`, or the head
            is a cross-encoder, which no format represents.
    """
    if head.formats and head.has_logits and not head.alone:
        raise refusal(form, f"tasks.{task}: a cross-encoder reads two texts in one sequence")
    if form not in head.formats:
        raise refusal(form, f"tasks.{task}.head, {type(head).__name__}", head.formats)
