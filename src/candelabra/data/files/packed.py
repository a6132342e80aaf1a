"""Bytes of a file, unpacked where its name ends in `.gz` or `.zst`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from candelabra.errors import DataError
from candelabra.files import POINTER, UNFETCHED

PACKINGS = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
"""Endings of packed files -> their first bytes."""
PARQUET = b"PAR1"
OTHERS = {
    POINTER: UNFETCHED,
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack or convert it",
    PARQUET: "a parquet file; rename it to end in .parquet",
    b"BZh91AY&SY": "packed as bzip2; unpack it",
    b"\xfd7zXZ\x00": "packed as xz; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a spreadsheet of Excel; save it as csv",
    b"ARROW1\x00\x00": "an Arrow file; convert it to parquet",
}
"""First bytes of what is often given in the place of a file -> what it is."""
LONGEST_BEGINNING = max(map(len, OTHERS))
MOST_UNPACKED = 2**31
"""Bytes that any packed file may unpack to; a larger one, up to `GROWTH` times its size."""
GROWTH = 100
PIECE = 2**22


def plain_name(path: Path) -> Path:
    """Return the path without the ending of a packing.

    Example:
        >>> plain_name(Path("rows.csv.gz")).name, plain_name(Path("rows.csv")).name
        ('rows.csv', 'rows.csv')
    """
    return path.with_suffix("") if path.suffix.lower() in PACKINGS else path


def read_bytes(path: Path) -> bytes:
    """Read a file; a packed one is unpacked.

    Raises:
        DataError: The file is packed although its name does not say so, or twice, is of another
            kind, is damaged, or unpacks to more than any data set of its size.
    """
    packing = path.suffix.lower()
    is_packed = packing in PACKINGS
    data = _unpacked(path, OPENERS[packing]) if is_packed else path.read_bytes()
    for ending, begin in PACKINGS.items():
        if data.startswith(begin):
            way = "unpack it once" if is_packed else f"rename it to {path.name}{ending}"
            raise DataError(f"{path}: is packed as {ending[1:]}{' within' * is_packed}; {way}")
    check_content(path, data)
    return data


def check_content(path: Path, begin: bytes) -> None:
    """Raise DataError if the first bytes of a file show that it is another kind of file."""
    for known, what in OTHERS.items():
        is_right = known == PARQUET and path.suffix.lower() == ".parquet"
        if begin.startswith(known) and not is_right:
            raise DataError(f"{path}: is {what}")


def _unpacked(path: Path, opener: Callable[[Path], Any]) -> bytes:
    most = max(MOST_UNPACKED, GROWTH * path.stat().st_size)
    parts, size = [], 0
    try:
        with opener(path) as stream:
            while part := stream.read(PIECE):
                size += len(part)
                if size > most:
                    raise DataError(f"{path}: unpacks to more than {most:,} bytes")
                parts.append(part)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None and not path.is_file():
            raise
        raise DataError(f"{path}: damaged or truncated {path.suffix[1:]}: {error}") from error
    return b"".join(parts)


def _zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")


OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".zst": _zstd}
