"""Readers of text files into a `Table`: JSON lines, csv and tsv."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from candelabra.data.files.layout import Layout
from candelabra.data.files.packed import plain_name, read_bytes
from candelabra.data.files.table import BadRowError, Table, at_lines, row_place, shown
from candelabra.errors import DataError

BEGINNING = 64
"""Number of bytes by which UTF-16 without a byte order mark is recognized."""
MAX_CELL = 2**31 - 1
"""Maximum characters of a csv cell; the default of the csv module, 131,072, is too small."""

OTHER_SEPARATORS = re.compile(r"[;|,\t]")
"""Characters in the name of an only column that were meant to separate several."""


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; bytes that are not UTF-8 become lone surrogates.

    Raises:
        DataError: The file is empty, contains only whitespace, or is UTF-16.
    """
    data = read_bytes(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _is_utf16(data[:BEGINNING]):
        raise DataError(f"{path}: not UTF-8: it is UTF-16; convert it")
    if not data.strip():
        raise DataError(f"{path}: empty file")
    return decode(data)


def _is_utf16(begin: bytes) -> bool:
    """Return whether every second byte of a beginning is zero, as in UTF-16 of Latin letters."""
    return len(begin) > 3 and any(begin) and not (any(begin[::2]) and any(begin[1::2]))


def decode(data: bytes) -> str:
    """Decode UTF-8 without its byte order mark; other bytes become lone surrogates."""
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text with their numbers, counted from 1."""
    # str.splitlines would also split at U+0085 and U+2028, which occur within real texts.
    end = "\n" if "\n" in text else "\r"  # as on a Mac of the last century, and in some exports
    for number, line in enumerate(text.split(end), start=1):
        yield number, line.removesuffix("\r")


def read_jsonl(path: Path, _: Layout) -> Table:
    """Read a JSON Lines file, which contains one object per line; skip blank lines.

    A line that is not a JSON object becomes a fault of its row. A `.json` file may hold an array
    of objects instead.

    Raises:
        DataError: No object of the file has a key, an array is broken, or the rows are written in
            another form.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    faults: dict[int, BadRowError] = {}
    text = read_text(path)
    if plain_name(path).suffix.lower() == ".json" and text.lstrip().startswith("["):
        return _array(path, text)
    for number, line in numbered_lines(text):
        if not line.strip():
            continue
        try:
            rows.append(_json_object(line))
        except BadRowError as fault:
            faults[len(rows)] = fault
            rows.append({})
        lines.append(number)
    if 0 in faults and _is_array(text):
        raise DataError(f"{path}: is one array of objects; rename it to end in .json")
    if len(rows) == 1 and rows[0] and all(isinstance(cell, dict) for cell in rows[0].values()):
        raise DataError(
            f"{path}: is one object of columns; objects by row are needed, which pandas writes by "
            "to_json(orient='records')"
        )
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    if rows and not columns:
        raise DataError(f"{path}, {at_lines(lines)(0)}: {faults.get(0, 'an object without keys')}")
    return Table(columns, str(path), at_lines(lines), faults)


def _is_array(text: str) -> bool:
    try:
        return text.lstrip().startswith("[") and isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _array(path: Path, text: str) -> Table:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}") from error
    faults = {
        row: BadRowError("broken JSON", f"an object expected, found {shown(value)}")
        for row, value in enumerate(rows)
        if not isinstance(value, dict)
    }
    objects = [row if isinstance(row, dict) else {} for row in rows]
    names = dict.fromkeys(name for row in objects for name in row)
    if rows and not names:
        raise DataError(f"{path}: an array of objects with keys expected")
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in objects] for name in names}
    return Table(columns, str(path), faults=faults)


def _json_object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        # Drop the position: the parser counts lines within this line, not in the file.
        message = str(error).partition(": line ")[0]
        problem = f"{message}; each line is one object, found {shown(line)}"
        raise BadRowError("broken JSON", problem) from error
    if not isinstance(row, dict):
        raise BadRowError("broken JSON", f"each line is one object, found {shown(row)}")
    return row


def read_delimited(path: Path, layout: Layout) -> Table:
    """Read a csv or tsv file with a header.

    A record whose number of cells differs from the header becomes a fault of its row.

    Args:
        path: File, whose extension `.csv` selects commas; otherwise tabs separate the cells.
        layout: Its `quoted` says whether cells may be quoted.

    Raises:
        DataError: A column name is repeated, a quote is not closed, or another character seems to
            separate the cells.
    """
    is_csv = plain_name(path).suffix.lower() == ".csv"
    quoted = is_csv if layout.quoted is None else layout.quoted
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        delimiter="," if is_csv else "\t",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    records = _records(reader, str(path))
    _, header = next(records, (1, []))
    if len(header) == 1 and OTHER_SEPARATORS.search(header[0]):
        raise DataError(
            f"{path}: the only column is {header[0]!r}; the cells of a csv file are separated by "
            "commas, those of a tsv file by tabs"
        )
    named = [name for name in header if name]  # a spreadsheet may end lines with empty cells
    if len(set(named)) < len(named):
        raise DataError(f"{path}, line 1: repeated column name in {shown(header)}")
    rows: list[list[Any]] = []
    lines: list[int] = []
    faults: dict[int, BadRowError] = {}
    for line, cells in records:
        if len(cells) != len(header):
            problem = f"{len(cells)} cells under {len(header)} columns, {shown(cells)}"
            faults[len(rows)] = BadRowError("unequal number of cells", problem)
        rows.append(cells if len(cells) == len(header) else [None] * len(header))
        lines.append(line)
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=False))
    return Table(columns, str(path), at_lines(lines), faults)


def _records(reader: Any, where: str) -> Iterator[tuple[int, list[Any]]]:
    row = -1
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            place = row_place(row, f"line {line}") if row >= 0 else "line 1"
            raise DataError(f"{where}, {place}: broken csv: {error}") from error
        if cells is None:
            return
        if cells:
            row += 1
            yield line, cells
