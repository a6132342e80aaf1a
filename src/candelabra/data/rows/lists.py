"""Columns of lists that were written as text, as pandas does to a csv."""

from __future__ import annotations

import ast
import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from candelabra.data.files.table import Table

LISTED = ("words", "tags", "labels")
"""Roles whose cells are lists."""
SINGLE = (str, int, float)


def with_lists(table: Table, columns: Mapping[str, str]) -> Table:
    """Read the list columns of a task as lists where cells are the texts of lists.

    Other texts in such a column stay as they are, so that a message names their rows.

    Args:
        table: Rows as they were read.
        columns: Column name of each role.

    Returns:
        The table; its note says which columns were texts.
    """
    parsed = {}
    for name in (columns[role] for role in LISTED if role in columns):
        cells = table.columns.get(name)
        lists = None if cells is None else _parsed(cells)
        if lists is not None:
            parsed[name] = lists
    if not parsed:
        return table
    named = ", ".join(map(repr, parsed))
    sentence = f"{named}: lists written as text, which are read as lists"
    note = f"{table.note}; {sentence}" if table.note else sentence
    return replace(table, columns=ChainMap(parsed, table.columns), note=note)  # type: ignore[arg-type]


def _parsed(cells: Sequence[Any]) -> list[Any] | None:
    """Return the cells with the lists that they spell, or `None` if there is nothing to read."""
    lists: list[Any] = []
    for cell in cells:
        if cell is not None and not isinstance(cell, str):
            return None
        value = None if cell is None else _list_of(cell)
        lists.append(cell if value is None else value)
    return lists if any(isinstance(value, list) for value in lists) else None


def _list_of(text: str) -> list[Any] | None:
    """Return the list whose text this is, in JSON or as Python writes it, or `None`.

    Other texts are refused: Python would read `['a' 'b']`, as numpy writes it, as one word.
    """
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if repr(value) != text:
            return None
    if not isinstance(value, list):
        return None
    return value if all(isinstance(item, SINGLE) for item in value) else None
