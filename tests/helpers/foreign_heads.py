"""A head of a user's own, and what a hostile bundle would like to call."""

from __future__ import annotations

from pathlib import Path

from candelabra.model.heads.classification import ClassificationHead


class OwnHead(ClassificationHead):
    """A head that candelabra does not know."""


def write_canary(path: str = "", **_: object) -> None:
    """Leaves a trace; no test may ever find it."""
    Path(path or "canary").write_text("executed")
