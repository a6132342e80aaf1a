"""Tables as the words of their lines."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def render(*tables: Table) -> list[list[str]]:
    """The words of each line."""
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    lines = [line.translate(str.maketrans("│┃", "  ")) for line in capture.get().splitlines()]
    return [words for line in lines if (words := line.split())]


def row(lines: list[list[str]], *start: str) -> list[str]:
    (found,) = [line[len(start) :] for line in lines if line[: len(start)] == list(start)]
    return found
