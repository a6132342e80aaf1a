"""Fuzzing of data files: one message, or rows of which all others are as they were."""

from __future__ import annotations

import datetime
import gzip
import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.data.files.readers import read_table
from candelabra.data.loading import TaskData, load_task
from candelabra.data.sources import Files
from candelabra.records import IGNORED
from helpers.fuzzing import mutated, one_message_or_none

ROWS = [(f"a film number {row}", ("good", "bad", "fair")[row % 3]) for row in range(12)]
WORDS = [(["a", "film", f"x{row}"], ["O", "B-Film", "I-Film"]) for row in range(9)]


def separated(by: str) -> bytes:
    return "".join(f"{by.join(row)}\n" for row in [("text", "label"), *ROWS]).encode()


def json_lines() -> bytes:
    return "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in ROWS).encode()


def conll() -> bytes:
    sentences = ("\n".join(map("\t".join, zip(*row, strict=True))) for row in WORDS)
    return "\n\n".join(sentences).encode() + b"\n"


def parquet() -> bytes:
    texts, labels = zip(*ROWS, strict=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts, "label": labels}), sink)
    return bytes(sink.getvalue())


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


CONTENTS: dict[str, Callable[[], bytes]] = {
    "csv": lambda: separated(","),
    "tsv": lambda: separated("\t"),
    "jsonl": json_lines,
    "conll": conll,
    "parquet": parquet,
    "csv.gz": lambda: gzip.compress(separated(",")),
    "conll.gz": lambda: gzip.compress(conll()),
    "jsonl.zst": lambda: zstd(json_lines()),
}
TEXTS, TAGS = {"text": "text", "label": "label"}, {"words": "tokens", "tags": "tags"}


def read(file: Path, columns: dict[str, str], **settings: Any) -> TaskData:
    source = Files(train=str(file), validation=str(file), test=None)
    return load_task(name="it", source=source, columns=columns, only="train", **settings)


def rows_of(data: TaskData) -> list[tuple[object, ...]]:
    examples = data.splits["train"]
    return [
        (*(column[row] for column in examples.texts), _named(examples.labels[row], data.labels))
        for row in range(len(examples))
    ]


def _named(label: Any, names: list[str]) -> object:
    if isinstance(label, list) and set(label) <= {0, 1, IGNORED} and len(label) == len(names):
        return tuple(name for name, is_set in zip(names, label, strict=True) if is_set == 1)
    if label == IGNORED:
        return None
    if isinstance(label, list):
        return tuple(_named(each, names) for each in label)
    return names[label] if names else label


def check(data: TaskData) -> None:
    """Every text can be read and every label is one."""
    for row in rows_of(data):
        for text in row[:-1]:
            assert isinstance(text, str)
            assert text.strip()
            assert "\x00" not in text
            text.encode("utf-8")
        if isinstance(row[-1], float):
            assert math.isfinite(row[-1])
    assert all(isinstance(name, str) and name.strip() for name in data.labels)


def fuzz_bytes(folder: Path, kind: str, cases: int) -> None:
    random, content = Random(f"{kind} {cases}"), CONTENTS[kind]()
    file, columns = folder / f"it.{kind}", TAGS if "conll" in kind else TEXTS
    file.write_bytes(content)
    right = rows_of(read(file, columns))
    for case in range(cases):
        file.write_bytes(mutated(content, random))
        with one_message_or_none((kind, case)) as messages:
            data = read(file, columns)
            check(data)
            found = rows_of(data)
            if kind.endswith(".gz"):
                assert found == right, "a packed file has a checksum"
            # Each of up to three changes is in one row, or over the border of two.
            others = sum(row not in right for row in found)
            assert others <= 6 or kind in ("parquet", "jsonl.zst")
        assert not messages or str(file) in messages[0]


@pytest.mark.parametrize("kind", CONTENTS)
def test_changed_bytes(tmp_path: Path, kind: str) -> None:
    fuzz_bytes(tmp_path, kind, 20)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTENTS)
def test_many_changed_bytes(tmp_path: Path, kind: str) -> None:
    fuzz_bytes(tmp_path, kind, 400)


def test_no_bit_of_a_parquet_footer_ends_the_process(tmp_path: Path) -> None:
    """pyarrow has functions that abort on sizes of columns that do not fit their type."""
    content, file = parquet(), tmp_path / "it.parquet"
    footer = int.from_bytes(content[-8:-4], "little")
    for place in range(len(content) - 8 - footer, len(content)):
        for bit in range(0, 8, 2):
            flipped = bytes([content[place] ^ 1 << bit])
            file.write_bytes(content[:place] + flipped + content[place + 1 :])
            with one_message_or_none((place, bit)):
                table = read_table(file)
                for name in set(table.columns) & {"text", "label"}:
                    table.column(name, role="text")


def nested(depth: int) -> list[Any]:
    cell: list[Any] = []
    for _ in range(depth):
        cell = [cell]
    return cell


CELLS: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 10**30, 1.0, 0.5, -0.0, math.nan, math.inf, 1e308),
    *("", " ", "\t", "\x00", "a\x00b", "\u0663", "1_000", "1.0", "01", "nan", "None", "null"),
    *("\x1b[2Jx", "good ", "GOOD", "go\u200bod", "\u202egood", "x" * 100_000, "[]", "['good']"),
    *([], [None], ["good"], ["good", "good"], [["a"]], [1], {}, {"a": 1}, {"a": {"b": []}}),
    *(nested(900), nested(300)),
    *("O", "B-", "I-Film", "B-Film", "-", ["O"], ["O", "O", "I-Film"], [0, 1, 2], "a b"),
]
OF_PARQUET = [
    *(b"bytes", datetime.date(2020, 1, 1), datetime.timedelta(days=1), Decimal("1.50")),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
]
SHAPES: list[tuple[dict[str, str], dict[str, Any]]] = [
    (TEXTS, {"text": "a film", "label": "good"}),
    ({"text": "text", "labels": "labels"}, {"text": "a film", "labels": ["good", "bad"]}),
    ({"text": "text", "number": "number"}, {"text": "a film", "number": 0.5}),
    (TAGS, {"tokens": ["a", "film", "x"], "tags": ["O", "B-Film", "I-Film"]}),
    (
        {"text1": "one", "text2": "two", "score": "score"},
        {"one": "a film", "two": "b", "score": 1.0},
    ),
    (
        {"text1": "one", "text2": "two", "label": "label"},
        {"one": "a film", "two": "b", "label": "good"},
    ),
]


def fuzz_cells(folder: Path, kind: str, cases: int) -> None:
    random, file = Random(f"{kind} {cases}"), folder / f"it.{kind}"
    for case in range(cases):
        columns, good = random.choice(SHAPES)
        rows = [dict(good) for _ in range(4)]
        key = random.choice(list(good))
        cell = random.choice(CELLS + (OF_PARQUET if kind == "parquet" else []))
        # A whole column of one kind, or one bad cell among good ones.
        for row in rows if random.random() < 0.3 else [random.choice(rows)]:
            row[key] = cell
        if kind == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            try:
                pq.write_table(pa.Table.from_pylist(rows), file)
            except (pa.ArrowException, TypeError, OverflowError, RecursionError):
                continue  # parquet cannot hold such a column
        settings = random.choice([{}, {"on_bad_row": "skip"}, {"missing_labels": "skip"}])
        with one_message_or_none((kind, case, columns, key, cell)):
            check(read(file, columns, **settings))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_odd_cells(tmp_path: Path, kind: str) -> None:
    fuzz_cells(tmp_path, kind, 50)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_many_odd_cells(tmp_path: Path, kind: str) -> None:
    fuzz_cells(tmp_path, kind, 500)
