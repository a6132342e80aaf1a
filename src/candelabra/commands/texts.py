"""The texts that a command is asked about."""

from __future__ import annotations

import sys
from pathlib import Path

from candelabra.data.examples import to_examples
from candelabra.data.readers import lines_table, read_lines, read_table
from candelabra.data.table import Table
from candelabra.errors import DataError, nearest


def read_texts(name: str, column: str) -> list[str]:
    """The texts of a file: a line each in .txt and standard input, else one column of the rows.

    Args:
        name: The file, or `-` for standard input.
        column: The column that holds the text.

    Raises:
        DataError: The file or the column is missing, or a row has no text.
    """
    path = Path(name)
    lines = name == "-" or path.suffix == ".txt"
    table = _standard_input() if name == "-" else read_lines(path) if lines else read_table(path)
    if not lines and column not in table.columns:
        has = ", ".join(map(repr, table.columns))
        hint = nearest(column, table.columns) or "; column=NAME names another"
        raise DataError(f"{table.where}: missing column {column!r}; it has {has}{hint}")
    examples, _ = to_examples(table, {"text": "text" if lines else column}, (), "error")
    return examples.texts[0]


def _standard_input() -> Table:
    # A byte that is not UTF-8 is kept for the message, as of files.
    text = sys.stdin.buffer.read().decode(errors="surrogateescape")
    if not text.strip():
        raise DataError("standard input: empty: it has no rows")
    return lines_table(text, "standard input")
