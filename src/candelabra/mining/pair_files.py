"""Read, deduplicate and write pairs of texts, and extract pairs from documents.

Heavy libraries are imported only where they are needed, so importing this module is fast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from candelabra.data.files.readers import read_table
from candelabra.data.files.table import BadRowError, Table
from candelabra.data.rows.cells import checked_text, without_case
from candelabra.errors import DataError
from candelabra.files import writing

Pair = tuple[str, str]
"""An anchor and its positive."""

BREAK = re.compile(r"<br\s*/?>|\n", re.IGNORECASE)
"""Line break, which always ends a sentence."""
END = re.compile(r"""[.!?\u2026]["'\u201d\u2019)\]]*(?=\s+["'\u201c\u2018(\[]*(?![a-z])\w)""")
"""End of a sentence: a punctuation mark and a space, not followed by a lower-case letter."""
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class UniquePairs:
    """Pairs without duplicates.

    Texts that differ only in case and whitespace are considered equal.

    Attributes:
        pairs: Distinct pairs in their original order. Of equal texts, the first spelling is used.
        repeated: Number of pairs removed as duplicates of earlier pairs.
        same: Number of pairs removed because both texts are equal.
    """

    pairs: list[Pair]
    repeated: int
    same: int


def unique_pairs(pairs: Iterable[Pair]) -> UniquePairs:
    """Remove repeated pairs, and pairs of a text with itself.

    Example:
        >>> unique_pairs([("A b", "c"), ("a  b", "C"), ("d", "D")])
        UniquePairs(pairs=[('A b', 'c')], repeated=1, same=1)
    """
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
    return UniquePairs(list(found), found.total() - len(found), same)


def read_pairs(path: Path, columns: Mapping[str, str], only: str | None = None) -> list[Pair]:
    """Read pairs from a file.

    Args:
        path: File in any format supported by `readers.read_table`.
        columns: Names of the columns for the roles `anchor` and `positive`.
        only: `COLUMN=VALUE` to read only rows with this value, compared as text.

    Raises:
        DataError: The file or a column is missing, no row has the value, or a row has no text.
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
        common = ", ".join(repr(cell) for cell, _ in Counter(cells).most_common(5))
        raise DataError(f"{table.where}: no row has {value!r} in column {name!r}; it has {common}")
    return rows


def _text(table: Table, row: int, cells: Sequence[object]) -> str:
    try:
        if row in table.faults:
            raise table.faults[row]
        return checked_text(cells[row])
    except BadRowError as fault:
        raise DataError(f"{table.where}, {table.locate(row)}: {fault}") from fault


def sentences(document: str) -> list[str]:
    """Split a document into sentences by a simple rule for languages with capital letters.

    The rule wrongly splits after an abbreviation before a capital letter, as in `Mr. Smith`, and
    does not split before a sentence that starts with a lower-case letter.

    Example:
        >>> sentences("It rains. Take a coat, e.g. the red one.")
        ['It rains.', 'Take a coat, e.g. the red one.']
    """
    found = []
    for line in BREAK.split(document):
        start = 0
        for end in [match.end() for match in END.finditer(line)] + [len(line)]:
            found.append(line[start:end].strip())
            start = end
    return [sentence for sentence in found if sentence]


def neighbouring_sentences(documents: Iterable[str], *, min_words: int = 1) -> Iterator[Pair]:
    """Pair each sentence with the next sentence of the same document.

    Args:
        documents: Texts of one or more sentences.
        min_words: Minimum number of words. Pairs with a shorter sentence are left out.

    Yields:
        Pairs of consecutive sentences.

    Example:
        >>> list(neighbouring_sentences(["It rains. Take a coat. Or stay."]))
        [('It rains.', 'Take a coat.'), ('Take a coat.', 'Or stay.')]
    """
    for document in documents:
        for pair in pairwise(sentences(document)):
            if all(len(WORD.findall(sentence)) >= min_words for sentence in pair):
                yield pair


def write_rows(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Write columns of texts to a file.

    Args:
        path: Output file with the suffix `.parquet` or `.jsonl`.
        columns: Texts by column name.

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
