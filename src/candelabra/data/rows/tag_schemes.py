"""Tag columns of other schemes than BIO, in files whose columns the task names."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from candelabra.data.files.table import Table
from candelabra.data.rows.shapes import NO_TAG
from candelabra.data.schemes import AUTO, BIO, converted, recognized
from candelabra.errors import DataError


def with_bio(table: Table, columns: Mapping[str, str]) -> Table:
    """Convert the tags of a table to BIO; those of a CoNLL file are converted by its reader.

    Args:
        table: Rows as they were read.
        columns: Column name of each role.

    Returns:
        The table; its note names the scheme. A sentence that is invalid becomes a fault.

    Raises:
        DataError: A scheme is chosen, and the tags are numbers.
    """
    name = columns.get("tags")
    if name is None or table.scheme == BIO or name not in table.columns:
        return table
    cells = table.columns[name]
    tags = [_with_marks(row) if _is_texts(row) else None for row in cells]
    known = [[tag for tag in row if tag != NO_TAG] for row in tags if row]
    present = [row for row in known if row]
    scheme = recognized(present) if table.scheme == AUTO else table.scheme
    if scheme == BIO:
        return table
    if not present:
        raise DataError(
            f"{table.where}: source.scheme={scheme} needs tags as text in column {name!r}"
        )
    bio, faults = converted(tags, scheme)
    pairs = zip(cells, bio, strict=True)
    column: dict[str, list[Any]] = {
        name: [old if new is None else _with_gaps(old, new) for old, new in pairs]
    }
    sentence = f"its tags are {scheme.upper()}; they are converted to BIO"
    return replace(
        table,
        columns=ChainMap(column, table.columns),  # type: ignore[arg-type]
        faults={**faults, **table.faults},
        note=f"{table.note}; {sentence}" if table.note else sentence,
        scheme=BIO,
    )


def _is_texts(row: Any) -> bool:
    """Return whether a cell is a list of tags as text, some of which may be missing."""
    return isinstance(row, list) and all(tag is None or isinstance(tag, str) for tag in row)


def _with_marks(row: list[str | None]) -> list[str]:
    """Return tags with the mark of a missing tag in place of `None`."""
    return [NO_TAG if tag is None else tag for tag in row]


def _with_gaps(old: list[str | None], new: list[str]) -> list[str | None]:
    """Return the converted tags, without those that are missing."""
    return [None if before is None else tag for before, tag in zip(old, new, strict=True)]
