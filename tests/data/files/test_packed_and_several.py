"""Files as they come: packed, in several parts, in folders of shards, with lists as text."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.data.files import packed
from candelabra.data.files.readers import read_table
from candelabra.data.loading import load_task
from candelabra.data.sources import Files, FilesOrHub
from candelabra.errors import ConfigError, DataError

ROWS = [{"text": f"text {i}, \u00e9", "label": "ab"[i % 2]} for i in range(6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in ROWS)
FORMATS = {
    "csv": CSV,
    "tsv": CSV.replace('",', "\t").replace('"', "").replace("text,label", "text\tlabel"),
    "jsonl": LINES,
    "json": json.dumps(ROWS, indent=1),
    "conll": "Ana B-PER\nlives O\n\nx O\n",
}


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data).to_pybytes())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "GZ": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    "ZST": lambda data: zstd(data[:9]) + zstd(data[9:]),
}
"""The last two write their data in two parts, one behind the other."""


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("form", FORMATS)
def test_packed_file_has_the_same_rows(form: str, packing: str, tmp_path: Path) -> None:
    plain, file = tmp_path / f"rows.{form}", tmp_path / f"rows.{form}.{packing}"
    plain.write_bytes(FORMATS[form].encode())
    file.write_bytes(PACKERS[packing](FORMATS[form].encode()))
    right = read_table(plain)
    assert read_table(file).columns == right.columns
    if form != "conll":
        assert right.columns == {key: [row[key] for row in ROWS] for key in ("text", "label")}


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_damaged_packed_file_is_refused(packing: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.csv.{packing}"
    whole = PACKERS[packing](CSV.encode() * 50)
    for data in (whole[: len(whole) // 2], b"text,label\na,b\n", whole[:10] + b"?" + whole[11:]):
        file.write_bytes(data)
        with pytest.raises(DataError, match=rf"rows\.csv\.{packing}: damaged or truncated"):
            read_table(file)


def test_a_small_file_that_unpacks_to_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MOST_UNPACKED", 2**20)
    file = tmp_path / "rows.csv.gz"
    file.write_bytes(gzip.compress(b"a" * 2**23))
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        read_table(file)


def test_packed_file_of_a_plain_name_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(gzip.compress(CSV.encode()))
    with pytest.raises(DataError, match=r"is packed as gz; rename it to rows\.csv\.gz"):
        read_table(file)
    for name in ("rows.parquet.gz", "rows.gz", "rows.doc.zst"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match="unsupported extension"):
            read_table(tmp_path / name)


def parts(tmp_path: Path) -> list[str]:
    names = [f"train-{place}.parquet" for place in range(3)]
    for place, name in enumerate(names):
        pq.write_table(pa.Table.from_pylist(ROWS[2 * place : 2 * place + 2]), tmp_path / name)
    return names


TEXT = {"text": "text", "label": "label"}


@pytest.mark.parametrize("kind", ["list", "pattern", "data_dir", "folder"])
def test_several_files_are_one_split(kind: str, tmp_path: Path) -> None:
    names = parts(tmp_path)
    source: Any = {
        "list": Files(train=names, folder=str(tmp_path)),
        "pattern": Files(train=f"{tmp_path}/train-*.parquet"),
        "data_dir": FilesOrHub({"train": "train-?.parquet"}, {}, data_dir=str(tmp_path)),
        "folder": Files(train=str(tmp_path)),
    }[kind]
    source.check()
    table = source.read("train")
    assert len(table) == 6
    assert table.columns["text"] == [row["text"] for row in ROWS]
    assert table.locate(3) == f"{tmp_path}/train-1.parquet, row 1 (counted from 0)"
    data = load_task("t", source=source, columns=TEXT, validation=1)
    assert sum(len(examples) for examples in data.splits.values()) == 6


def test_bad_rows_of_several_files_are_placed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "b.jsonl").write_text(LINES + "{broken\n")
    source = Files(train=["a.jsonl", "b.jsonl"], folder=str(tmp_path))
    with pytest.raises(DataError, match=r"b\.jsonl, row 6 \(counted from 0; line 7\): broken JSON"):
        load_task("t", source=source, columns=TEXT)
    (tmp_path / "b.jsonl").write_text('{"text": "a", "labl": "b"}\n')
    with pytest.raises(DataError, match=r"b\.jsonl: its columns .*'label', 'labl' only in one"):
        load_task("t", source=source, columns=TEXT)


def test_missing_parts_are_named_before_anything_is_read(tmp_path: Path) -> None:
    parts(tmp_path)
    with pytest.raises(DataError, match="no file matches this pattern"):
        Files(train=f"{tmp_path}/test-*.parquet").check()
    with pytest.raises(DataError, match=r"train-9\.parquet: missing file"):
        Files(train=["train-0.parquet", "train-9.parquet"], folder=str(tmp_path)).check()
    with pytest.raises(ConfigError, match=r"^train must be a path or a list of paths"):
        Files(train=[], folder=str(tmp_path)).check()


def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "a[1].jsonl").write_text(LINES)
    assert len(Files(train=f"{tmp_path}/a[1].jsonl").read("train") or []) == 6


def test_a_folder_of_several_splits_is_refused(tmp_path: Path) -> None:
    parts(tmp_path)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "test-0.parquet")
    with pytest.raises(DataError, match="parquet files of several splits, test, train"):
        read_table(tmp_path)
    assert len(Files(train=f"{tmp_path}/train*.parquet").read("train") or []) == 6


def test_folder_of_save_to_disk(tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(tmp_path / "one")
    assert dict(read_table(tmp_path / "one").columns) == {k: dataset[k][:] for k in TEXT}
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path / "two")
    assert len(read_table(tmp_path / "two" / "train")) == 6
    with pytest.raises(DataError, match="holds several splits, test, train: name one"):
        read_table(tmp_path / "two")


WORDS = [["Ana", "it's", 'say "so"'], ["x"], ["\u00e9, [a]", "'b'"]]
TAGS = [["B-PER", "O", "O"], ["O"], ["O", "O"]]
TAGGED = {"words": "tokens", "tags": "tags"}


@pytest.mark.parametrize("writer", [repr, str, json.dumps])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_lists_written_as_text_are_lists(
    form: str,
    writer: Callable[[Any], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"tokens": writer(words), "tags": writer(tags)}
        for words, tags in zip(WORDS, TAGS, strict=True)
    ]
    file = tmp_path / f"rows.{form}"
    if form == "csv":
        with file.open("w", newline="", encoding="utf-8") as stream:
            out = csv.DictWriter(stream, ["tokens", "tags"])
            out.writeheader()
            out.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    data = load_task("t", source=Files(train=str(file)), columns=TAGGED, validation=1)
    texts = sorted(text for split in data.splits.values() for text in split.texts[0])
    assert texts == sorted(" ".join(words) for words in WORDS)
    assert "'tokens', 'tags': lists written as text" in capsys.readouterr().err


@pytest.mark.parametrize("cell", ["['Ana' 'lives']", "['a', 'b'", "[['a'], 'b']", "a b"])
def test_what_is_not_the_text_of_a_list_is_refused(cell: str, tmp_path: Path) -> None:
    """numpy writes no commas, so that Python would read one word."""
    rows = [{"tokens": text, "tags": "['O', 'O']"} for text in ("['a', 'b']", cell)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"row 1 .*a list of words expected, found .*: 1 of 2 "):
        load_task("t", source=Files(train=f"{tmp_path}/x.parquet"), columns=TAGGED, validation=1)
