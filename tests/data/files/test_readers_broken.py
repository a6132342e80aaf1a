"""Files that are broken: what is wrong, and where, is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.data.files.readers import READERS, read_lines, read_table
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import to_examples
from candelabra.errors import DataError


@pytest.mark.parametrize("suffix", READERS)
def test_empty_file(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{suffix}"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=rf"x{suffix}: empty"):
        read_table(file)


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "x.parquet")
    (tmp_path / "tree" / "pos").mkdir(parents=True)
    for name in ("x.csv", "x.parquet", "tree"):
        with pytest.raises(DataError, match=f"{name}: empty"):
            read_table(tmp_path / name)


@pytest.mark.parametrize("cut", [3, 200, -20])
def test_truncated_parquet(cut: int, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(100)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "whole.parquet")
    (tmp_path / "x.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:cut])
    with pytest.raises(DataError, match=r"x\.parquet: unreadable or truncated parquet"):
        read_table(tmp_path / "x.parquet")


def test_damaged_pages_of_a_parquet(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    columns = {"text": [f"text {n}" * n for n in range(200)]}
    pq.write_table(pa.table(columns), file, compression="zstd")
    data = bytearray(file.read_bytes())
    data[4:1000] = bytes(996)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.parquet: unreadable"):
        read_table(file).column("text", role="text")


def test_unclosed_quote_names_row_and_line(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text('text,label\n"one\ntwo",neg\nfine,pos\n"open,neg\nmore,pos\n')
    with pytest.raises(
        DataError, match=r"x\.csv, row 2 \(counted from 0; line 5\): broken csv: unexpected end"
    ):
        read_table(file)


@pytest.mark.parametrize(
    ("name", "header"), [("x.csv", "text;label"), ("x.csv", "text\tlabel"), ("x.tsv", "text,label")]
)
def test_another_separator_is_named(tmp_path: Path, name: str, header: str) -> None:
    (tmp_path / name).write_text(f"{header}\n{header}\n")
    with pytest.raises(
        DataError, match=r"the only column is 'text.*a csv file are separated by com"
    ):
        read_table(tmp_path / name)


def test_column_name_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,text\na,b\n")
    with pytest.raises(DataError, match=r"x\.csv, line 1: repeated column name"):
        read_table(tmp_path / "x.csv")


def test_utf_16_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\na,b\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"x\.csv: not UTF-8: it is UTF-16"):
        read_table(tmp_path / "x.csv")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.csv").write_text("text\na\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"x\.csv: cannot be read: Permission denied"):
        read_table(tmp_path / "x.csv")


BROKEN_ROWS: dict[str, tuple[str, str, int, str]] = {
    "json": (
        "x.jsonl",
        '{"text": "a"}\n\n{"text": "b"\n',
        1,
        "row 1 (counted from 0; line 3): broken JSON: Expec",
    ),
    "list": (
        "x.jsonl",
        '{"text": "a"}\n["b"]\n',
        1,
        "row 1 (counted from 0; line 2): broken JSON: each line is",
    ),
    "csv": (
        "x.csv",
        "text,label\na,b\nc,d,e\n",
        1,
        "row 1 (counted from 0; line 3): unequal number of cells: 3",
    ),
    "tsv": (
        "x.tsv",
        "text\tlabel\nalone\n",
        0,
        "row 0 (counted from 0; line 2): unequal number of cells: 1 cell",
    ),
    "bio": (
        "x.bio",
        "who\tO\n\nwas\tO\nmax\n",
        1,
        "row 1 (counted from 0; line 3): unequal lengths: a word and",
    ),
}


@pytest.mark.parametrize("case", BROKEN_ROWS)
def test_rows_that_cannot_be_read_are_faults(case: str, tmp_path: Path) -> None:
    name, text, row, message = BROKEN_ROWS[case]
    (tmp_path / name).write_text(text)
    table = read_table(tmp_path / name)
    assert list(table.faults) == [row]
    assert f"{table.locate(row)}: {table.faults[row]}".startswith(message)
    assert all(cells[row] is None for cells in table.columns.values())


def test_file_of_broken_json_only(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{\n}\n")
    with pytest.raises(DataError, match=r"x\.json, row 0 \(counted from 0; line 1\): broken JSON"):
        read_table(tmp_path / "x.json")


def bad_parquet(path: Path) -> None:
    texts = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), path)


def bad_tree(path: Path) -> None:
    (path / "pos").mkdir(parents=True)
    (path / "pos" / "0.txt").write_bytes(b"fine")
    (path / "pos" / "1.txt").write_bytes(b"caf\xe9")


BROKEN_UTF8: dict[str, tuple[Callable[[Path], object], str]] = {
    "x.csv": (
        lambda path: path.write_bytes(b"text\nfine\ncaf\xe9\n"),
        "row 1 (counted from 0; line 3)",
    ),
    "x.tsv": (
        lambda path: path.write_bytes(b"text\nfine\ncaf\xe9\n"),
        "row 1 (counted from 0; line 3)",
    ),
    "x.jsonl": (
        lambda path: path.write_bytes(b'{"text": "fine"}\n{"text": "caf\xe9"}\n'),
        "row 1 (counted from 0; line 2)",
    ),
    "x.parquet": (bad_parquet, "row 1 (counted from 0)"),
    "x": (bad_tree, "row 1 (counted from 0; pos/1.txt)"),
}


@pytest.mark.parametrize("name", BROKEN_UTF8)
def test_broken_utf8_names_file_row_and_byte_and_can_be_skipped(name: str, tmp_path: Path) -> None:
    write, place = BROKEN_UTF8[name]
    write(tmp_path / name)
    table = read_table(tmp_path / name)
    with pytest.raises(DataError) as caught:
        to_examples(table, {"text": "text"}, [])
    expected = f"{tmp_path / name}, {place}: broken UTF-8: byte 0xe9 at character 3"
    assert str(caught.value).startswith(expected)
    examples, skipped = to_examples(table, {"text": "text"}, [], "skip")
    assert examples.texts == (["fine"],)
    assert skipped == {"broken UTF-8": 1}


def test_broken_utf8_in_words(tmp_path: Path) -> None:
    (tmp_path / "x.bio").write_bytes(b"fine\tO\n\ncaf\xe9\tO\n")
    words = pa.array([[b"fine"], [b"caf\xe9"]]).cast(pa.list_(pa.binary()))
    offsets, values = words.offsets, words.values.view(pa.string())
    broken = pa.ListArray.from_arrays(offsets, values)
    pq.write_table(pa.table({"tokens": broken}), tmp_path / "x.parquet")
    for name in ("x.bio", "x.parquet"):
        table = read_table(tmp_path / name)
        with pytest.raises(DataError, match=r"row 1.*: broken UTF-8: byte 0xe9 at character 3"):
            to_examples(table, {"words": "tokens"}, [])


@pytest.mark.parametrize("read", [read_table, read_lines])
def test_an_address_is_no_path(read: Callable[[Path], Table]) -> None:
    with pytest.raises(DataError, match=r"^s3://a/x\.csv: is an address; download the file$"):
        read(Path("s3://a/x.csv"))


def test_a_missing_file_says_what_its_path_is_relative_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^x\.csv: missing file in {tmp_path}$"):
        read_table("x.csv")
