"""Input texts of a command."""

from __future__ import annotations

import sys
from pathlib import Path

from candelabra.data.files.readers import lines_table, read_lines, read_table
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import to_examples
from candelabra.errors import DataError, nearest


def read_texts(name: str, column: str) -> list[str]:
    """Read texts from the lines of a .txt file or standard input, or from a column of a table.

    Args:
        name: Path of the file, or `-` for standard input.
        column: Column of the texts, for other files than .txt.

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
    columns = {"text": "text" if lines else column}
    examples, _ = to_examples(table, columns, (), "error", skippable=False)
    return examples.texts[0]


def _standard_input() -> Table:
    # Keep bytes that are not UTF-8 as lone surrogates, so that the error can show the line.
    text = sys.stdin.buffer.read().decode(errors="surrogateescape")
    if not text.strip():
        raise DataError("standard input: empty: it has no rows")
    return lines_table(text, "standard input")
