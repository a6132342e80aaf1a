"""Read a file or folder into a `Table`. The extension determines the format, not the content.

A row that cannot be read becomes one of the table's `faults`, and a byte that is not UTF-8 becomes
a lone surrogate in its text. `to_examples` reports both together with the other bad rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from candelabra.data.files.conll import read_conll
from candelabra.data.files.folders import read_folder
from candelabra.data.files.layout import Layout
from candelabra.data.files.parquet import read_parquet
from candelabra.data.files.table import Table, at_lines
from candelabra.data.files.text_files import (
    numbered_lines,
    read_delimited,
    read_jsonl,
    read_text,
)
from candelabra.errors import DataError, nearest


def read_table(path: str | Path, layout: Layout | None = None) -> Table:
    """Read a file or a folder of text files.

    Args:
        path: File with the extension `.parquet`, `.jsonl` or `.json` (one object per line), `.csv`,
            `.tsv`, `.conll`, `.bio`, `.iob` or `.iob2`, or folder whose sub-folders contain `.txt`
            files.
        layout: Format options that the extension does not determine.

    Returns:
        The rows. CoNLL/BIO files have the columns `tokens` and `tags`, and folders `text` and
        `label`. The other formats name their columns themselves.

    Raises:
        DataError: If the path is missing, unsupported or unreadable, or has no rows.
    """
    path = Path(path)
    check_path(path)
    read = read_folder if path.is_dir() else READERS[path.suffix.lower()]
    try:
        table = read(path, layout or Layout())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(table) == 0:
        raise DataError(f"{path}: empty: it has no rows")
    return table


def read_lines(path: Path) -> Table:
    """Read plain text into the column `text`, one row per line, without blank lines at the end.

    Raises:
        DataError: If the file is missing, empty, or not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing file")
    return lines_table(read_text(path), str(path))


def lines_table(text: str, where: str) -> Table:
    """Return the lines of a text as the column `text`, without blank lines at the end."""
    rows = [line for _, line in numbered_lines(text)]
    while len(rows) > 1 and not rows[-1].strip():
        del rows[-1]
    return Table({"text": rows}, where, at_lines(range(1, len(rows) + 1)))


def check_path(path: Path) -> None:
    """Raise DataError unless `path` is a folder or a file with a known extension."""
    if path.is_dir():
        return
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        there = nearest(path.name, siblings) if siblings else f" (nor a folder {path.parent})"
        raise DataError(f"{path}: missing file{there}")
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"{path}: unsupported extension {path.suffix!r}; must be one of {known}")


Reader = Callable[[Path, Layout], Table]
READERS: dict[str, Reader] = {
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".json": read_jsonl,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".conll": read_conll,
    ".bio": read_conll,
    ".iob": read_conll,
    ".iob2": read_conll,
}
