"""Every format gives the same rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.data.files.layout import Layout
from candelabra.data.files.readers import read_table
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import to_examples
from candelabra.errors import DataError

# In the order of a folder tree: by label, then by name.
TEXTS = ['"Dull", she said', "naïve\u0085 \u2028 and long", "it's 日本 again", "a, b; c"]
LABELS = ["neg", "neg", "pos", "pos"]
TOKENS = [["who", "was", "max"], ["1995", "films"]]
TAGS = [["O", "O", "B-Actor"], ["B-Year", "O"]]


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), path)


def write_jsonl(path: Path) -> None:
    rows = [
        json.dumps({"text": text, "label": label}, ensure_ascii=False)
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    path.write_text("\n".join(rows), encoding="utf-8")


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("text", "label"), *zip(TEXTS, LABELS, strict=True)])


def write_tsv(path: Path) -> None:
    rows = [("text", "label"), *zip(TEXTS, LABELS, strict=True)]
    path.write_bytes("".join("\t".join(row) + "\r\n" for row in rows).encode())


def write_tree(path: Path) -> None:
    for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{number}_7.txt").write_text(text + "\n", encoding="utf-8")


WRITERS = {
    "x.parquet": write_parquet,
    "x.jsonl": write_jsonl,
    "x.json": write_jsonl,
    "x.csv": write_csv,
    "x.tsv": write_tsv,
    "x": write_tree,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_give_the_same_examples(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    table = read_table(tmp_path / name)
    examples, skipped = to_examples(table, {"text": "text", "label": "label"}, ["neg", "pos"])
    assert examples.texts == (TEXTS,)
    assert examples.labels == [0, 0, 1, 1]
    assert examples.rows == [0, 1, 2, 3]
    assert not skipped
    assert table.where == str(tmp_path / name)


def bio(*, tag_first: bool, gap: str) -> str:
    pair = f"{{1}}{gap}{{0}}" if tag_first else f"{{0}}{gap}{{1}}"
    return "\n\n".join(
        "\n".join(pair.format(word, tag) for word, tag in zip(words, tags, strict=True))
        for words, tags in zip(TOKENS, TAGS, strict=True)
    )


@pytest.mark.parametrize("suffix", [".conll", ".bio", ".iob", ".iob2"])
@pytest.mark.parametrize("gap", ["\t", " ", " _ _ "])
def test_bio_text_has_tokens_and_tags(suffix: str, gap: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{suffix}"
    file.write_text("-DOCSTART- O\n\n" + bio(tag_first=False, gap=gap) + "\n\n\n")
    table = read_table(file)
    assert table.columns == {"tokens": TOKENS, "tags": TAGS}
    assert [table.locate(row) for row in (0, 1)] == [
        "row 0 (counted from 0; line 3)",
        "row 1 (counted from 0; line 7)",
    ]


def test_tag_may_stand_first(tmp_path: Path) -> None:
    file = tmp_path / "x.bio"
    file.write_text(bio(tag_first=True, gap="\t"))
    assert read_table(file, Layout(tag_first=True)).columns == {"tokens": TOKENS, "tags": TAGS}


def test_lists_survive_parquet_and_json(tmp_path: Path) -> None:
    pq.write_table(pa.table({"tokens": TOKENS, "tags": TAGS}), tmp_path / "x.parquet")
    (tmp_path / "x.json").write_text(
        "\n".join(json.dumps({"tokens": t, "tags": g}) for t, g in zip(TOKENS, TAGS, strict=True))
    )
    for name in ("x.parquet", "x.json"):
        assert read_table(tmp_path / name).columns == {"tokens": TOKENS, "tags": TAGS}


def test_quotes_in_tsv_are_text_unless_said_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text('text\tlabel\n"So it goes\tneg\nfine\tpos\n')
    assert read_table(file).columns["text"] == ['"So it goes', "fine"]
    file.write_text('text\tlabel\n"So it\tgoes"\tneg\n')
    assert read_table(file, Layout(quoted=True)).columns["text"] == ["So it\tgoes"]


def test_csv_rows_know_the_line_they_start_on(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text('text,label\n"one\ntwo",neg\n\nthree,pos\n')
    table = read_table(file)
    assert table.columns["text"] == ["one\ntwo", "three"]
    assert table.locate(1) == "row 1 (counted from 0; line 5)"


def test_csv_cells_may_be_long(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"text,label\n{'x' * 200_000},neg\n")
    assert len(read_table(file).columns["text"][0]) == 200_000


def test_absent_keys_of_a_json_object_are_none(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "a"}\n\n{"text": "b", "label": 1}\n')
    table = read_table(file)
    assert table.columns == {"text": ["a", "b"], "label": [None, 1]}
    assert table.locate(1) == "row 1 (counted from 0; line 3)"


def test_subfolders_choose_and_name_labels(tmp_path: Path) -> None:
    write_tree(tmp_path)
    (tmp_path / "unsup").mkdir()
    (tmp_path / "unsup" / "0.txt").write_text("unlabelled")
    assert set(read_table(tmp_path).columns["label"]) == {"neg", "pos", "unsup"}
    assert read_table(tmp_path, Layout(subfolders=["neg", "pos"])).columns["label"] == LABELS
    table = read_table(tmp_path, Layout(subfolders={"pos": "POSITIVE"}))
    assert table.columns == {"text": TEXTS[2:], "label": ["POSITIVE"] * 2}
    assert table.locate(1) == "row 1 (counted from 0; pos/3_7.txt)"
    with pytest.raises(DataError, match="missing sub-folder 'poss'; did you mean 'pos'"):
        read_table(tmp_path, Layout(subfolders=["poss"]))


def test_equals_sign_in_a_folder_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    write_parquet(folder / "x.parquet")
    assert set(read_table(folder / "x.parquet").columns) == {"text", "label"}


def test_missing_file_names_a_near_one(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"tain\.csv: missing file; did you mean 'train\.csv'"):
        read_table(tmp_path / "tain.csv")
    with pytest.raises(DataError, match=r"x\.csv: missing file \(nor a folder .*absent\)"):
        read_table(tmp_path / "absent" / "x.csv")


@pytest.mark.parametrize("name", ["x.txt", "x.xlsx", "x"])
def test_unsupported_extension_lists_the_supported(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("who\tO\n")
    with pytest.raises(DataError, match=r"unsupported extension.*\.parquet.*\.conll"):
        read_table(tmp_path / name)


def test_a_table_is_what_comes_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv")
    assert isinstance(read_table(str(tmp_path / "x.csv")), Table)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", '{"text": "a", "label": "p"}\n{"text": "b", "label": "q"}\n'),
        ("x.csv", "text,label\na,p\nb,q\n"),
        ("x.tsv", "text\tlabel\na\tp\nb\tq\n"),
    ],
)
def test_lines_may_end_by_a_carriage_return_alone(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.replace("\n", "\r").encode())
    table = read_table(tmp_path / name)
    assert dict(table.columns) == {"text": ["a", "b"], "label": ["p", "q"]}


def test_empty_cells_at_the_end_of_all_lines_are_no_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label,,\na,p,,\nb,q,,\n")
    assert read_table(tmp_path / "x.csv").column("label", role="label") == ["p", "q"]
