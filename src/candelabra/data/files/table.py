"""Rows as read from a source, before they are checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from candelabra.errors import DataError, nearest, printable

SHOWN = 60
"""Maximum number of characters of a value in a message."""


class BadRowError(ValueError):
    """Error of a row that breaks a rule.

    Args:
        rule: Short name of the rule, by which bad rows are counted.
        found: Description of the value that breaks the rule.
        name: Unknown name in the row, if the rule is about names.
        options: Known names; the message suggests the most similar one.
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
        # The search for a similar name is slow, so it is done only for the row that is shown.
        return f"{self.rule}: {self.found}{nearest(self.name, self.options)}"


@dataclass(frozen=True)
class Table:
    """Rows of one split, not yet checked.

    Attributes:
        columns: Column name -> cells; all columns have the same length.
        where: Name of the file, folder or data set in messages.
        locate: Function that describes the position of a row for messages, such as `row 7 (counted
            from 0; line 9)`. Rows are counted from 0, as in a Hugging Face data set, and lines from
            1, as in an editor.
        faults: Errors of the rows that could not be read; the cells of these rows are `None`.
        note: Message about how the rows were read, for the user; empty without one.
        scheme: Tagging scheme of a column of tags: `iob2` if they are BIO, `auto` if it is unknown.
        num_rows: Number of rows, if the columns are read on demand; otherwise `None`.
    """

    columns: Mapping[str, list[Any]]
    where: str
    locate: Callable[[int], str] = lambda row: row_place(row)
    faults: Mapping[int, BadRowError] = field(default_factory=dict)
    num_rows: int | None = None
    note: str = ""
    scheme: str = "auto"

    def __len__(self) -> int:
        if self.num_rows is not None:
            return self.num_rows
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str, *, role: str) -> list[Any]:
        """Return the cells of a column.

        Args:
            name: Name of the column.
            role: Role of the column in the task, for the error message.

        Raises:
            DataError: If there is no such column.
        """
        if name not in self.columns:
            present = ", ".join(repr(column) for column in self.columns)
            raise DataError(
                f"{self.where}: missing column {name!r} (for {role}); it has {present}"
                f"{nearest(name, self.columns)}"
            )
        return self.columns[name]


def row_place(row: int, *more: str) -> str:
    """Return the position of a row for a message; `more` adds others, such as a line number."""
    return f"row {row} ({'; '.join(['counted from 0', *more])})"


def at_lines(lines: Sequence[int]) -> Callable[[int], str]:
    """Return the function `Table.locate` for rows that start on the given lines."""
    return lambda row: row_place(row, f"line {lines[row]}")


def shown(value: object, *, quoted: bool = True) -> str:
    """Return a value as a short, printable text on one line, for a message."""
    if isinstance(value, (str, bytes)):
        value = value[: SHOWN + 1]  # a cell may hold millions of characters
    text = repr(value) if quoted else printable(str(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
