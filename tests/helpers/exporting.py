"""`candelabra export`, as tests call it, and the card that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from helpers.command_line import Done, Run, called

QUICK = "format=sentence_transformers"


def exported(run: Run, *arguments: str) -> Done:
    """With the run's bundle and the output `out`, where no others are given."""
    usual = {"bundle": str(run.bundle), "output": "out"}
    given = {word.partition("=")[0] for word in arguments}
    words = [f"{key}={value}" for key, value in usual.items() if key not in given]
    return called("export", *words, *arguments)


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """The metadata of a card, and its text."""
    text = (folder / "README.md").read_text()
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body
