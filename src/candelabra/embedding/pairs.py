"""Pairs of texts that belong together: read, cleaned, derived from documents, and written.

Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from candelabra.data.cells import checked_text, without_case
from candelabra.data.readers import read_table
from candelabra.data.table import BadRowError, Table
from candelabra.errors import DataError
from candelabra.output import writing

Pair = tuple[str, str]
"""An anchor and its positive."""

BREAK = re.compile(r"<br\s*/?>|\n", re.IGNORECASE)
"""Ends a sentence whatever stands there."""
END = re.compile(r"""[.!?\u2026]["'\u201d\u2019)\]]*(?=\s+["'\u201c\u2018(\[]*(?![a-z])\w)""")
"""The end of a sentence: its mark, and behind a space no small letter."""
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Cleaned:
    """Pairs that teach something.

    Attributes:
        pairs: Distinct ones, in their order; of texts that differ in nothing but case and spaces
            the first stands for all.
        repeated: How many were dropped since they had been there.
        same: How many were dropped since both texts are the same.
    """

    pairs: list[Pair]
    repeated: int
    same: int


def cleaned(pairs: Iterable[Pair]) -> Cleaned:
    """Without repeated pairs, and without pairs of a text with itself."""
    first: dict[str, str] = {}
    found: Counter[Pair] = Counter()
    same = 0
    for anchor, positive in pairs:
        keys = without_case(anchor), without_case(positive)
        if keys[0] == keys[1]:
            same += 1
        else:
            texts = zip(keys, (anchor, positive), strict=True)
            a, b = (first.setdefault(each, text) for each, text in texts)
            found[a, b] += 1
    return Cleaned(list(found), found.total() - len(found), same)


def read_pairs(path: Path, columns: Mapping[str, str], only: str | None = None) -> list[Pair]:
    """The pairs of a file.

    Args:
        path: Any table that `readers.read_table` reads.
        columns: The columns of `anchor` and `positive`.
        only: `COLUMN=VALUE` keeps the rows whose cell is this value, written out.

    Raises:
        DataError: The file, a column or the value is missing, or a row has no text.
    """
    table = read_table(path)
    sides = [table.column(columns[side], role=f"columns.{side}") for side in ("anchor", "positive")]
    return [
        (_text(table, row, sides[0]), _text(table, row, sides[1])) for row in _rows(table, only)
    ]


def _rows(table: Table, only: str | None) -> Sequence[int]:
    if only is None:
        return range(len(table))
    name, _, value = only.partition("=")
    cells = [str(cell) for cell in table.column(name, role="only")]
    rows = [row for row, cell in enumerate(cells) if cell == value]
    if not rows:
        there = ", ".join(repr(cell) for cell, _ in Counter(cells).most_common(5))
        raise DataError(f"{table.where}: no row has {value!r} in column {name!r}; it has {there}")
    return rows


def _text(table: Table, row: int, cells: Sequence[object]) -> str:
    try:
        if row in table.faults:
            raise table.faults[row]
        return checked_text(cells[row])
    except BadRowError as fault:
        raise DataError(f"{table.where}, {table.locate(row)}: {fault}") from fault


def sentences(document: str) -> list[str]:
    """The sentences of a document, by a rule for languages with capitals.

    An abbreviation before a capital (`Mr. Smith`) is cut as well, and a sentence that begins with
    a small letter is not cut off.
    """
    found = []
    for line in BREAK.split(document):
        start = 0
        for end in [match.end() for match in END.finditer(line)] + [len(line)]:
            found.append(line[start:end].strip())
            start = end
    return [sentence for sentence in found if sentence]


def neighbours(documents: Iterable[str], *, min_words: int = 1) -> Iterator[Pair]:
    """Each sentence with the next one of its document.

    Args:
        documents: The texts.
        min_words: A pair with a shorter sentence is left out.
    """
    for document in documents:
        for pair in pairwise(sentences(document)):
            if all(len(WORD.findall(sentence)) >= min_words for sentence in pair):
                yield pair


def write_rows(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Writes columns of texts; the suffix says the format.

    Raises:
        DataError: The file cannot be written.
    """
    with writing(path) as stream:
        WRITERS[path.suffix](stream, columns)


def _write_parquet(stream: BinaryIO, columns: Mapping[str, Sequence[str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({name: pa.array(c, pa.string()) for name, c in columns.items()}), stream
    )


def _write_jsonl(stream: BinaryIO, columns: Mapping[str, Sequence[str]]) -> None:
    import json

    for cells in zip(*columns.values(), strict=True):
        row = json.dumps(dict(zip(columns, cells, strict=True)), ensure_ascii=False)
        stream.write(f"{row}\n".encode())


WRITERS: dict[str, Callable[[BinaryIO, Mapping[str, Sequence[str]]], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
