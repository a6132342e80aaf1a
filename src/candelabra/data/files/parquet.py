"""Read Parquet files into a `Table`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.data.files.layout import Layout
from candelabra.data.files.packed import LONGEST_BEGINNING, check_content
from candelabra.data.files.table import Table, shown
from candelabra.data.files.text_files import decode
from candelabra.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


ROWS_PER_BYTE = 1000
"""Maximum number of rows for each byte of a file; more would be an attempt to fill the memory."""
PIECE = 4096
"""Number of rows that are decoded at a time."""
MOST_DECODED = 2**28
"""Bytes that a column of any file may decode to; for a larger file, `GROWTH` times its size."""
GROWTH = 1000
MOST_IN_PIECE = 2**31
"""Maximum bytes of the rows that are decoded at a time, in the worst case."""


class Columns(Mapping[str, list[Any]]):
    """Columns of a Parquet file, each read on its first use.

    Columns that no task uses are neither decoded nor checked.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._names = tuple(names)
        self._read: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        """Return the cells of a column; raise DataError if they cannot be read."""
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = _column(self._path, name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_parquet(path: Path, _: Layout) -> Table:
    """Read a Parquet file, whose columns are read on their first use.

    Raises:
        DataError: If the file is empty, unreadable or truncated, repeats the name of a column, or
            has implausibly many rows for its size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: empty file")
    with path.open("rb") as stream:
        check_content(path, stream.read(LONGEST_BEGINNING))
    try:
        with pq.ParquetFile(path) as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable or truncated parquet: {error}") from error
    if rows < 0:
        raise DataError(f"{path}: damaged: it has {rows} rows")
    if rows > ROWS_PER_BYTE * size:
        raise DataError(
            f"{path}: {rows:,} rows in {size:,} bytes, more than {ROWS_PER_BYTE:,} a byte"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{path}: repeated column name in {shown(names)}")
    return Table(Columns(path, names), str(path), num_rows=rows)


def _column(path: Path, name: str) -> list[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    most = max(MOST_DECODED, GROWTH * path.stat().st_size)
    cells: list[Any] = []
    decoded = 0
    try:
        # `read_table` would turn a folder `lr=0.1/` in the path into another column.
        with pq.ParquetFile(path) as file:
            largest = _largest_group(file)
            if largest > most:
                raise DataError(f"{path}: a row group has more than {most:,} bytes")
            # A value is at most as large as its group, but a dictionary may repeat it in every row.
            piece = max(1, min(PIECE, MOST_IN_PIECE // max(1, largest)))
            for batch in file.iter_batches(batch_size=piece, columns=[name], use_threads=False):
                decoded += batch.nbytes
                if decoded > most:
                    raise DataError(f"{path}: column {name!r} has more than {most:,} bytes")
                cells += _cells(batch.column(name))
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable or truncated parquet: {error}") from error
    except (OverflowError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: column {name!r} cannot be read: {error}") from error
    if len(cells) != rows:
        raise DataError(f"{path}: damaged: column {name!r} has {len(cells)} of {rows} rows")
    return cells


def _largest_group(file: pq.ParquetFile) -> int:
    """Return the size in bytes of the largest row group when it is decompressed.

    The sizes of single columns are not read: where they are damaged, pyarrow ends the process.
    """
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    return max((group.total_byte_size for group in groups), default=0)


def _cells(column: pa.Array) -> list[Any]:
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
    return decode(value) if isinstance(value, bytes) else value
