"""File or folder -> `Table`. The extension says the format; nothing is guessed from the content.

A row that cannot be read becomes one of the table's `faults`, and a byte that is not UTF-8 stays
in its text as a lone surrogate: `to_examples` reports both with the other bad rows.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.data.table import BadRowError, Table, at_lines, row_place, shown
from candelabra.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CELL = 2**31 - 1
"""Characters in a csv cell; the csv module's own limit, 131,072, is shorter than some texts."""


@dataclass(frozen=True)
class Layout:
    """What an extension does not tell.

    Attributes:
        tag_first: In CoNLL/BIO text the tag stands before the word (the MIT files), not last.
        quoted: Quotes delimit csv/tsv cells. None: in csv yes, in tsv no, as is the custom.
        subfolders: In a folder tree, the sub-folders that are read; a mapping also says the label
            of each. None: every sub-folder, each the label of its texts.
    """

    tag_first: bool = False
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None


def read_table(path: str | Path, layout: Layout | None = None) -> Table:
    """Reads a file or a folder tree.

    Args:
        path: A `.parquet`, `.jsonl` or `.json` (an object a line), `.csv`, `.tsv`, `.conll`,
            `.bio`, `.iob` or `.iob2` file, or a folder whose sub-folders hold `.txt` files.
        layout: What the extension does not tell.

    Returns:
        The rows. CoNLL/BIO text has the columns `tokens` and `tags`, a folder tree `text` and
        `label`; the other formats name their own.

    Raises:
        DataError: The path is missing, unsupported, unreadable or without rows.
    """
    path = Path(path)
    check_path(path)
    read = _read_folder if path.is_dir() else READERS[path.suffix.lower()]
    try:
        table = read(path, layout or Layout())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(table) == 0:
        raise DataError(f"{path}: empty: it has no rows")
    return table


def read_lines(path: Path) -> Table:
    """Reads plain text, a row a line, as the column `text`; blank lines at its end are none.

    Raises:
        DataError: The file is missing, empty or no UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing file")
    rows = [line for _, line in _lines(_read_text(path))]
    while not rows[-1].strip():
        del rows[-1]
    return Table({"text": rows}, str(path), at_lines(range(1, len(rows) + 1)))


def check_path(path: Path) -> None:
    """Raises DataError unless `path` is a folder or a file with an extension that we read."""
    if path.is_dir():
        return
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        there = nearest(path.name, siblings) if siblings else f" (nor a folder {path.parent})"
        raise DataError(f"{path}: missing file{there}")
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"{path}: unsupported extension {path.suffix!r}; we read {known}")


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: not UTF-8: it is UTF-16; convert it")
    if not data.strip():
        raise DataError(f"{path}: empty file")
    return _decode(data)


def _decode(data: bytes) -> str:
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # str.splitlines would also split at U+0085 and U+2028, which stand inside of real texts.
    for number, line in enumerate(text.split("\n"), start=1):
        yield number, line.removesuffix("\r")


def _read_jsonl(path: Path, _: Layout) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    faults: dict[int, BadRowError] = {}
    for number, line in _lines(_read_text(path)):
        if not line.strip():
            continue
        try:
            rows.append(_json_object(line))
        except BadRowError as fault:
            faults[len(rows)] = fault
            rows.append({})
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    if rows and not columns:
        raise DataError(f"{path}, {at_lines(lines)(0)}: {faults.get(0, 'an object without keys')}")
    return Table(columns, str(path), at_lines(lines), faults)


def _json_object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        # The parser counts lines within this one: drop its position.
        message = str(error).partition(": line ")[0]
        found = f"{message}; each line is one object, found {shown(line)}"
        raise BadRowError("broken JSON", found) from error
    if not isinstance(row, dict):
        raise BadRowError("broken JSON", f"each line is one object, found {shown(row)}")
    return row


def _read_delimited(path: Path, layout: Layout) -> Table:
    is_csv = path.suffix.lower() == ".csv"
    quoted = is_csv if layout.quoted is None else layout.quoted
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(
        io.StringIO(_read_text(path), newline=""),
        delimiter="," if is_csv else "\t",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    records = _records(reader, str(path))
    _, header = next(records, (1, []))
    if len(set(header)) < len(header):
        raise DataError(f"{path}, line 1: a column name stands twice in {shown(header)}")
    rows: list[list[Any]] = []
    lines: list[int] = []
    faults: dict[int, BadRowError] = {}
    for line, cells in records:
        if len(cells) != len(header):
            found = f"{len(cells)} cells under {len(header)} columns, {shown(cells)}"
            faults[len(rows)] = BadRowError("unequal number of cells", found)
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


def _read_conll(path: Path, layout: Layout) -> Table:
    tokens: list[list[str] | None] = []
    tags: list[list[str] | None] = []
    lines: list[int] = []
    faults: dict[int, BadRowError] = {}
    for start, sentence in _sentences(_read_text(path)):
        try:
            pairs = [_word_and_tag(line, tag_first=layout.tag_first) for line in sentence]
        except BadRowError as fault:
            faults[len(lines)] = fault
            tokens.append(None)
            tags.append(None)
        else:
            tokens.append([word for word, _ in pairs])
            tags.append([tag for _, tag in pairs])
        lines.append(start)
    return Table({"tokens": tokens, "tags": tags}, str(path), at_lines(lines), faults)


def _sentences(text: str) -> Iterator[tuple[int, list[str]]]:
    start = 1
    sentence: list[str] = []
    for number, line in _lines(text):
        if line.strip() and not line.startswith("-DOCSTART-"):
            start = start if sentence else number
            sentence.append(line)
        elif sentence:
            yield start, sentence
            sentence = []
    if sentence:
        yield start, sentence


def _word_and_tag(line: str, *, tag_first: bool) -> tuple[str, str]:
    cells = line.split("\t") if "\t" in line else line.split()
    if len(cells) < 2:
        raise BadRowError("unequal lengths", f"a word and its tag expected, found {shown(line)}")
    return (cells[1], cells[0]) if tag_first else (cells[0], cells[-1])


def _read_parquet(path: Path, _: Layout) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file")
    try:
        # Not read_table: that would read `lr=0.1/` in a path as one more column.
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable or truncated parquet: {error}") from error
    columns = {name: _cells(table.column(name)) for name in table.column_names}
    return Table(columns, str(path))


def _cells(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(map(_decoded, column.cast(_as_bytes(column.type)).to_pylist()))


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    return pa.large_binary()


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return _decode(value) if isinstance(value, bytes) else value


def _read_folder(path: Path, layout: Layout) -> Table:
    labels = _labels_of(path, layout.subfolders)
    files = [file for name in labels for file in sorted((path / name).glob("*.txt"))]
    if not files:
        raise DataError(f"{path}: empty: no .txt file in a sub-folder, one for each label")
    columns = {
        "text": [_decode(file.read_bytes()).rstrip("\r\n") for file in files],
        "label": [labels[file.parent.name] for file in files],
    }
    names = [f"{file.parent.name}/{file.name}" for file in files]
    return Table(columns, str(path), lambda row: row_place(row, names[row]))


def _labels_of(path: Path, subfolders: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    found = sorted(item.name for item in path.iterdir() if item.is_dir())
    if subfolders is None:
        return {name: name for name in found}
    labels = dict(subfolders) if isinstance(subfolders, Mapping) else {n: n for n in subfolders}
    for name in labels:
        if name not in found:
            raise DataError(f"{path}: missing sub-folder {name!r}{nearest(name, found)}")
    return labels


Reader = Callable[[Path, Layout], Table]
READERS: dict[str, Reader] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_jsonl,
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".conll": _read_conll,
    ".bio": _read_conll,
    ".iob": _read_conll,
    ".iob2": _read_conll,
}
