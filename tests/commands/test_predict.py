from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.bundle.bundle import Bundle
from helpers.command_line import Done, Run, called

TEXTS = [
    "what 1995 romantic comedy starred michael douglas",
    "A dull film.",
    'He said: "don\'t go", and left; why?',
    "caf\u00e9 \u6620\u753b \N{CLAPPER BOARD}",
]


def predicted(run: Run, *arguments: str) -> Done:
    return called("predict", f"bundle={run.bundle}", *arguments)


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "it's",
        "'",
        '"quoted"',
        "a, b; c",
        "time: 10:30",
        "a=b=c",
        "1995",
        "1e3",
        "null",
        "true",
        "${oc.env:HOME}",
        "${x}",
        "[1, 2]",
        "{a: 1}",
        "--help me",
        "~x +y",
        "  spaces  kept  ",
        "two\nlines",
        "text=text=text",
    ],
)
def test_text_is_taken_verbatim(text: str, run: Run) -> None:
    done = predicted(run, f"text={text}")
    assert (done.status, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["text"] == text
    assert set(answer) == {"text", "sentiment", "movie"}
    assert sum(answer["sentiment"]["probabilities"].values()) == pytest.approx(1)
    for span in answer["movie"]:
        assert set(span) == {"text", "type", "score", "start", "end"}
        assert text[span["start"] : span["end"]] == span["text"]


def write_txt(file: Path, texts: list[str]) -> None:
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def write_jsonl(file: Path, texts: list[str]) -> None:
    rows = [json.dumps({"text": text, "id": place}) + "\n" for place, text in enumerate(texts)]
    file.write_text("".join(rows), encoding="utf-8")


def write_csv(file: Path, texts: list[str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["id", "text"], *enumerate(texts)])


def write_tsv(file: Path, texts: list[str]) -> None:
    file.write_text("".join(f"{text}\n" for text in ["text", *texts]), encoding="utf-8")


def write_parquet(file: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts}), file)


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "txt": write_txt,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "tsv": write_tsv,
    "parquet": write_parquet,
}


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("extension", WRITERS)
def test_file_in_file_out(extension: str, run: Run, bundle: Bundle, tmp_path: Path) -> None:
    WRITERS[extension](tmp_path / f"in.{extension}", TEXTS)
    files = [f"input=in.{extension}", "output=new folder/it's, out.jsonl"]
    done = predicted(run, *files, "batch_size=2", "precision=32-true")
    assert (done.status, done.err) == (0, "")
    assert done.out == "4 predictions: new folder/it's, out.jsonl\n"
    answers = lines(tmp_path / "new folder" / "it's, out.jsonl")
    assert [answer["text"] for answer in answers] == TEXTS
    for answer, expected in zip(answers, bundle.predict(TEXTS), strict=True):
        assert answer["sentiment"]["score"] == pytest.approx(expected["sentiment"]["score"])
        spans = [[(s["type"], s["start"]) for s in a["movie"]] for a in (answer, expected)]
        assert spans[0] == spans[1]


def test_many_texts_keep_their_order(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candelabra.commands.predict.CHUNK", 7)
    texts = [f"film {'word ' * (place % 5)}{place}" for place in range(20)]
    write_txt(tmp_path / "in.txt", texts)
    assert predicted(run, "input=in.txt", "output=out.jsonl", "batch_size=3").status == 0
    assert [answer["text"] for answer in lines(tmp_path / "out.jsonl")] == texts


@pytest.mark.parametrize("end", ["", "\n\n", "\n \n\t\r\n", "\n\u2003\n"])
def test_blank_lines_at_the_end_of_a_text_file_are_no_texts(
    end: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("a fine film\na dull film " + end)
    assert predicted(run, "input=in.txt", "output=out.jsonl").status == 0
    found = [answer["text"] for answer in lines(tmp_path / "out.jsonl")]
    assert found == ["a fine film", "a dull film "]


def test_another_column(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"review": TEXTS}), tmp_path / "in.parquet")
    files = ["input=in.parquet", "output=out.jsonl"]
    assert predicted(run, *files, "column=review").status == 0
    assert len(lines(tmp_path / "out.jsonl")) == len(TEXTS)


def broken(tmp_path: Path) -> None:
    write_txt(tmp_path / "in.txt", TEXTS)
    write_csv(tmp_path / "in.csv", TEXTS)
    write_txt(tmp_path / "blank.txt", ["fine", "  ", "fine"])
    write_jsonl(tmp_path / "blank.jsonl", ["fine", "", "fine"])
    (tmp_path / "nothing.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes(b"fine\na caf\xe9\n")
    (tmp_path / "in.docx").write_bytes(b"x")


REFUSED = {
    "missing column": (
        ["input=in.csv", "output=out", "column=txet"],
        ["in.csv: missing column 'txet'", "'id', 'text'", "did you mean 'text'?"],
    ),
    "empty text in a file": (
        ["input=blank.txt", "output=out"],
        ["blank.txt, row 1 (counted from 0; line 2): empty text", "every row needs a prediction"],
    ),
    "empty text in a table": (
        ["input=blank.jsonl", "output=out"],
        ["blank.jsonl, row 1 (counted from 0; line 2): empty text"],
    ),
    "no UTF-8": (
        ["input=latin.txt", "output=out"],
        ["row 1 (counted from 0; line 2): broken UTF-8: byte 0xe9"],
    ),
    "empty file": (["input=nothing.txt", "output=out"], ["nothing.txt: empty file"]),
    "missing file": (["input=no.csv", "output=out"], ["no.csv: missing file", "'in.csv'"]),
    "extension": (["input=in.docx", "output=out"], ["unsupported extension '.docx'", ".jsonl"]),
    "no output": (["input=in.txt"], ["input=FILE and output=FILE go together"]),
    "no input": (["output=out"], ['either text="..." or input=FILE']),
    "both": (["text=x", "input=in.txt", "output=out"], ['either text="..." or input=FILE']),
    "empty": (["text= "], ["text must not be empty"]),
    "latin-1": (["text=caf\udce9"], ["text must be UTF-8"]),
    "batch size": (["text=x", "batch_size=0"], ["batch_size", "at least 1, got 0"]),
    "unknown key": (["text=x", "bach_size=4"], ["no key 'bach_size'", "'batch_size'?"]),
    "added key": (["text=x", "+foo=4"], ["no key 'foo'"]),
    "no key": (["text=x", "hello"], ["override 'hello' cannot be parsed"]),
    "flag": (["text=x", "--foo"], ["no flag '--foo'"]),
    "float16 on a CPU": (
        ["text=x", "accelerator=cpu", "precision=16-mixed"],
        ["precision must be one of 32-true, bf16-mixed, auto, got '16-mixed'"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(case: str, run: Run, tmp_path: Path) -> None:
    broken(tmp_path)
    arguments, parts = REFUSED[case]
    done = predicted(run, *arguments)
    assert done.status == 2
    for part in parts:
        assert part in done.message
    assert "on_bad_row" not in done.message, "predict has no such key"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bundle", "part"),
    [([], "predict needs bundle=FOLDER"), (["bundle=nope"], "bundle=nope: no such folder")],
)
def test_bundle_is_needed(bundle: list[str], part: str) -> None:
    done = called("predict", *bundle, "text=x")
    assert (done.status, done.message) == (2, part)


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = called("predict", f"bundle={tmp_path / 'other'}", "text=x")
    assert (done.status, done.out) == (2, "")
    part = f"bundle={tmp_path / 'other'}: no bundle, it has no file config.json; a bundle is the "
    assert done.message.startswith(part)


def test_output_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    write_txt(tmp_path / "in.txt", TEXTS)
    for output, rule in (("in.txt/out.jsonl", "cannot be written: "), (".", "is a folder")):
        done = predicted(run, "input=in.txt", f"output={output}")
        assert done.status == 2
        assert done.message.startswith(f"output={output}: {rule}")
    assert [file.name for file in tmp_path.iterdir()] == ["in.txt"]


def test_failure_leaves_the_old_output(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Bundle, texts: list[str], **_: Any) -> list[Any]:
        raise MemoryError

    write_txt(tmp_path / "in.txt", TEXTS)
    (tmp_path / "out.jsonl").write_text("old")
    monkeypatch.setattr(Bundle, "predict", fail)
    with pytest.raises(MemoryError):
        predicted(run, "input=in.txt", "output=out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert {file.name for file in tmp_path.iterdir()} == {"in.txt", "out.jsonl"}


def test_run_folder_stands_for_its_bundle(run: Run) -> None:
    done = called("predict", f"bundle={run.folder}", "text=a fine film")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["text"] == "a fine film"
