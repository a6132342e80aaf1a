"""Files of another kind than their name says: what they are, and what to do, is said."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.data.files.layout import ENDINGS
from candelabra.data.files.readers import READERS, read_table
from candelabra.errors import DataError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
BY_COLUMN = {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"]}), sink)
    return bytes(sink.getvalue())


KINDS: dict[str, tuple[str, bytes, str]] = {
    "a pointer": ("x.csv", POINTER.encode(), "is a pointer of Git LFS, not the file; `git lfs"),
    "a pointer of parquet": ("x.parquet", POINTER.encode(), "is a pointer of Git LFS"),
    "zip": ("x.csv", b"PK\x03\x04" + bytes(50), "is a zip archive or a spreadsheet"),
    "zip of parquet": ("x.parquet", b"PK\x03\x04" + bytes(50), "is a zip archive"),
    "parquet": ("x.jsonl", parquet(), "is a parquet file; rename it to end in .parquet"),
    "gzip": ("x.csv", b"\x1f\x8b\x08" + bytes(9), "is packed as gz; rename it to x.csv.gz"),
    "gzip twice": (
        "x.csv.gz",
        gzip.compress(gzip.compress(b"a")),
        "is packed as gz within; unpack",
    ),
    "zip in gzip": ("x.csv.gz", gzip.compress(b"PK\x03\x04"), "is a zip archive"),
    "bzip2": ("x.csv", bz2.compress(b"text\na\n"), "is packed as bzip2; unpack it"),
    "xz": ("x.jsonl", lzma.compress(b"{}"), "is packed as xz; unpack it"),
    "an old spreadsheet": ("x.csv", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(9), "is a spreads"),
    "Arrow": ("x.parquet", b"ARROW1\0\0" + bytes(9), "is an Arrow file; convert it to parquet"),
    "UTF-16": ("x.csv", "text,label\n".encode("utf-16"), "not UTF-8: it is UTF-16"),
    "UTF-16 without a mark": ("x.csv", "text,label\n".encode("utf-16-le"), "it is UTF-16"),
    "UTF-16 the other way": ("x.conll", "Ana B-PER\n".encode("utf-16-be"), "it is UTF-16"),
    "an array": ("x.jsonl", json.dumps(ROWS).encode(), "is one array of objects; rename it to"),
    "an indented array": ("x.jsonl", json.dumps(ROWS, indent=1).encode(), "is one array"),
    "columns": ("x.json", json.dumps(BY_COLUMN).encode(), r"to_json\(orient='records'\)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_named(kind: str, tmp_path: Path) -> None:
    name, content, said = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*{said}"):
        read_table(tmp_path / name)


def test_a_parquet_file_may_have_any_case_in_its_ending(tmp_path: Path) -> None:
    (tmp_path / "x.PARQUET").write_bytes(parquet())
    assert read_table(tmp_path / "x.PARQUET").column("text", role="text") == ["a"]


def test_a_line_that_is_a_list_among_objects_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('[1]\n{"text": "a"}\n')
    assert list(read_table(tmp_path / "x.jsonl").faults) == [0]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"x\.csv: neither a file nor a folder"):
        read_table(tmp_path / "x.csv")


def test_a_folder_of_other_files_is_said_to_need_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match=rf"a pattern names other files: {tmp_path}/\*\.csv"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["README.md", "data/a.parquet"], "a pattern names other files: FOLDER/*/*.parquet"),
        (["info.json", "a/1.csv.gz", "b/1.csv.gz"], "other files: FOLDER/*/*.csv.gz"),
        (["train/pos/1.txt", "train/neg/1.txt"], "; FOLDER/train has some"),
        (["a.arrow"], "; found 'a.arrow'"),
        (["a.txt"], "; found 'a.txt'"),
    ],
)
def test_a_folder_without_texts_says_what_it_holds(
    names: list[str], said: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    expected = re.escape(said.replace("FOLDER", str(tmp_path)))
    with pytest.raises(DataError, match=rf"one for each label.*{expected}$"):
        read_table(tmp_path)


def test_a_folder_is_searched_for_every_ending_that_can_be_read() -> None:
    assert set(ENDINGS) == set(READERS)


def test_a_column_with_other_rows_than_the_file_is_damaged(tmp_path: Path) -> None:
    """The count in the file's metadata, 300, is a varint in its last bytes."""
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a"] * 300}), file)
    content, count = file.read_bytes(), bytes([0x16, 0xD8, 0x04])
    assert content.count(count) > 1
    file.write_bytes(content.replace(count, bytes([0x16, 0xDA, 0x04])))
    with pytest.raises(DataError, match=r"x\.parquet: "):
        read_table(file).column("text", role="text")
