"""Write embeddings as .npy, Parquet, or JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from candelabra.files import writing

if TYPE_CHECKING:
    import numpy as np


def write_vectors(path: Path, texts: Sequence[str], parts: Iterable[np.ndarray]) -> None:
    """Write embeddings to a file as they are computed, replacing an old file only on success.

    Args:
        path: Output file. `.npy` contains only the embeddings (N, D) in float32, `.parquet` the
            columns `text` and `embedding`, `.jsonl` one object with these two keys per line.
        texts: N texts.
        parts: Embeddings (n, D) of consecutive texts.

    Raises:
        DataError: The file cannot be written.
    """
    with writing(path) as stream:
        WRITERS[path.suffix](stream, texts, iter(parts))


def print_vectors(stream: TextIO, texts: Sequence[str], parts: Iterable[np.ndarray]) -> None:
    """Write embeddings as JSON Lines to a text stream, such as standard output."""
    for line in _lines(texts, iter(parts)):
        stream.write(line)


def _lines(texts: Sequence[str], parts: Iterator[np.ndarray]) -> Iterator[str]:
    vectors = (vector for part in parts for vector in part)
    for text, vector in zip(texts, vectors, strict=True):
        # `str` gives the shortest decimal that converts back to the same float32.
        numbers = ", ".join(map(str, vector))
        yield f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}\n'


def _write_jsonl(stream: BinaryIO, texts: Sequence[str], parts: Iterator[np.ndarray]) -> None:
    for line in _lines(texts, parts):
        stream.write(line.encode())


def _write_npy(stream: BinaryIO, texts: Sequence[str], parts: Iterator[np.ndarray]) -> None:
    import numpy as np

    first = next(parts)
    shape = (len(texts), first.shape[1])
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    stream.write(first.astype("<f4").tobytes())
    for part in parts:
        stream.write(part.astype("<f4").tobytes())


def _write_parquet(stream: BinaryIO, texts: Sequence[str], parts: Iterator[np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, done = None, 0
    for part in parts:
        values = pa.array(part.ravel(), pa.float32())
        columns = {
            "text": pa.array(texts[done : done + len(part)], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, part.shape[1]),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(stream, table.schema)
        writer.write_table(table)
        done += len(part)
    assert writer is not None, "no texts"
    writer.close()


WRITERS: dict[str, Callable[[BinaryIO, Sequence[str], Iterator[np.ndarray]], None]] = {
    ".npy": _write_npy,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
