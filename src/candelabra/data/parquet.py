"""Parquet files -> `Table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.data.layout import Layout
from candelabra.data.table import Table
from candelabra.data.text_files import decode
from candelabra.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, _: Layout) -> Table:
    """The rows of a parquet file.

    Raises:
        DataError: It is empty, unreadable or truncated.
    """
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
    return decode(value) if isinstance(value, bytes) else value
