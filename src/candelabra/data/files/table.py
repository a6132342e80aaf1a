"""Rows as they were found, before they are checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from candelabra.errors import DataError, nearest, printable

SHOWN = 60
"""Characters of a found value that a message repeats."""


class BadRowError(ValueError):
    """One row that breaks a rule.

    Args:
        rule: The rule's short name; bad rows are counted by it.
        found: What stands in the row.
        name: What was given as a name, if it is none of `options`.
        options: The names it might have been; the message gives the nearest.
    """

    def __init__(
        self, rule: str, found: str, *, name: str = "", options: Collection[str] = ()
    ) -> None:
        super().__init__(rule, found)
        self.rule = rule
        self.found = found
        self.name = name
        self.options = options

    def __str__(self) -> str:
        # Finding the nearest name is slow: done for the one row that is shown, not for all.
        return f"{self.rule}: {self.found}{nearest(self.name, self.options)}"


@dataclass(frozen=True)
class Table:
    """The rows of one split, unchecked.

    Attributes:
        columns: Cells by column; all columns have the same length.
        where: The file, folder or data set, as messages name it.
        locate: Says where a row stands, such as `row 7 (counted from 0; line 9)`. Rows count
            from 0, as those of a Hugging Face data set; lines from 1, as in an editor.
        faults: Rows that could not be read; their cells are None.
        note: What a person should know about how the rows were read; empty for nothing.
        num_rows: How many rows there are, where columns are read on demand.
    """

    columns: Mapping[str, list[Any]]
    where: str
    locate: Callable[[int], str] = lambda row: row_place(row)
    faults: Mapping[int, BadRowError] = field(default_factory=dict)
    num_rows: int | None = None
    note: str = ""

    def __len__(self) -> int:
        if self.num_rows is not None:
            return self.num_rows
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str, *, role: str) -> list[Any]:
        """The cells of a column.

        Args:
            name: The column.
            role: What the task wants it for, named in the message.

        Raises:
            DataError: There is no such column.
        """
        if name not in self.columns:
            present = ", ".join(repr(column) for column in self.columns)
            raise DataError(
                f"{self.where}: missing column {name!r} (for {role}); it has {present}"
                f"{nearest(name, self.columns)}"
            )
        return self.columns[name]


def row_place(row: int, *more: str) -> str:
    """Where a row stands, for a message; `more` says it in other words, such as a line."""
    return f"row {row} ({'; '.join(['counted from 0', *more])})"


def at_lines(lines: Sequence[int]) -> Callable[[int], str]:
    """A `locate` for rows that start on these lines."""
    return lambda row: row_place(row, f"line {lines[row]}")


def shown(value: object, *, quoted: bool = True) -> str:
    """A found value for a message: short, on one line, printable."""
    if isinstance(value, (str, bytes)):
        value = value[: SHOWN + 1]  # a cell may hold millions of characters
    text = repr(value) if quoted else printable(str(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
