"""Read a file or folder into a `Table`. The extension determines the format, not the content.

A row that cannot be read becomes one of the table's `faults`, and a byte that is not UTF-8 becomes
a lone surrogate in its text. `to_examples` reports both together with the other bad rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from candelabra.data.files.conll import read_conll
from candelabra.data.files.folders import read_folder
from candelabra.data.files.layout import Layout
from candelabra.data.files.packed import PACKINGS, plain_name
from candelabra.data.files.parquet import read_parquet
from candelabra.data.files.several import holds_shards, joined, matching, read_shards
from candelabra.data.files.table import Table, at_lines
from candelabra.data.files.text_files import (
    numbered_lines,
    read_delimited,
    read_jsonl,
    read_text,
)
from candelabra.data.garbage import no_collection
from candelabra.errors import DataError, nearest

ADDRESS = re.compile(r"([a-z][a-z0-9]+:)/+(.*)", re.DOTALL)
"""Address of a file on another machine, such as `https://a.example/x.csv`."""


@no_collection()
def read_table(path: str | Path, layout: Layout | None = None) -> Table:
    """Read a file or a folder of text files.

    Args:
        path: A `.parquet`, `.jsonl`, `.json` (one object per line, or an array), `.csv`,
            `.tsv`, `.conll`, `.bio`, `.iob` or `.iob2` file, all but parquet also as `.gz` or
            `.zst`; a folder of parquet files, or of `datasets.save_to_disk`; or a folder whose
            sub-folders hold `.txt` files.
        layout: Format options that the extension does not determine.

    Returns:
        The rows. CoNLL/BIO files have the columns `tokens` and `tags`, and folders `text` and
        `label`. The other formats name their columns themselves.

    Raises:
        DataError: If the path is missing, unsupported or unreadable, or has no rows.
    """
    path = Path(path)
    check_path(path)
    read = READERS.get(plain_name(path).suffix.lower(), read_folder)
    if path.is_dir():
        read = read_shards if holds_shards(path) else read_folder
    try:
        table = read(path, layout or Layout())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(table) == 0:
        raise DataError(f"{path}: empty: it has no rows")
    return table if read is read_conll else replace(table, scheme=(layout or Layout()).scheme)


def read_tables(paths: Sequence[Path], layout: Layout, where: str) -> Table:
    """Read several files as one table; a path may be a pattern.

    Args:
        paths: Files or patterns, in the order of their rows.
        layout: Format options that the extensions do not determine.
        where: Name of the whole in messages.

    Raises:
        DataError: A file cannot be read, or its columns are not those of the first.
    """
    return joined([read_table(file, layout) for path in paths for file in matching(path)], where)


def read_lines(path: Path) -> Table:
    """Read plain text into the column `text`, one row per line, without blank lines at the end.

    Raises:
        DataError: If the file is missing, empty, or not UTF-8.
    """
    if not path.is_file():
        check_no_address(path)
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
        check_no_address(path)
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        there = nearest(path.name, siblings) if siblings else f" (nor a folder {path.parent})"
        here = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{path}: missing file{here}{there}")
    if not path.is_file():  # reading a pipe would wait forever
        raise DataError(f"{path}: neither a file nor a folder")
    inner = plain_name(path)
    if inner.suffix.lower() not in READERS or (inner != path and inner.suffix == ".parquet"):
        known = ", ".join(READERS)
        found = path.name[len(inner.stem) :] if inner != path else path.suffix
        raise DataError(
            f"{path}: unsupported extension {found!r}; must be one of {known}, and all but "
            f".parquet as {' or '.join(PACKINGS)}"
        )


def check_no_address(path: str | Path) -> None:
    """Raise DataError if a path was given as an address, one of whose slashes a `Path` drops."""
    if match := ADDRESS.match(str(path)):
        raise DataError(f"{match[1]}//{match[2]}: is an address; download the file")


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
