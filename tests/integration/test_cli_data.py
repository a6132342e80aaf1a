"""A broken file, given as a task of one's own, stops a run before the encoder is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import HEAVY_AFTER, Done, called, python
from helpers.stand_ins import texts_and_labels, tokens_and_tags

TAGS = ["O", "B-Actor", "I-Actor"]

TAGGING = """
defaults: [base/tagging@_here_, _self_]
source:
  _target_: candelabra.data.Files
  train: {file}
columns: {{words: tokens, tags: tags}}
labels: [O, B-Actor, I-Actor]
"""
TEXTS = """
defaults: [base/classification@_here_, _self_]
source:
  _target_: candelabra.data.Files
  train: {file}
columns: {{text: text, label: label}}
labels: [NEGATIVE, POSITIVE]
"""


def tagged_rows() -> list[dict[str, list[str]]]:
    columns = tokens_and_tags()
    return [
        {"tokens": words, "tags": [TAGS[tag] for tag in tags]}
        for words, tags in zip(columns["tokens"], columns["tags"], strict=True)
    ]


def write_jsonl(file: Path, rows: list[dict[str, list[str]]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_bio(file: Path, rows: list[dict[str, list[str]]]) -> None:
    pairs = (zip(row["tokens"], row["tags"], strict=True) for row in rows)
    file.write_text("\n".join("".join(f"{word}\t{tag}\n" for word, tag in row) for row in pairs))


def unknown_tag(file: Path) -> None:
    rows = tagged_rows()
    rows[7]["tags"][0] = "B-Actr"
    write_bio(file, rows)


def stray_inside(file: Path) -> None:
    rows = tagged_rows()
    rows[7]["tags"][:2] = ["O", "I-Actor"]
    write_bio(file, rows)


def unequal_lengths(file: Path) -> None:
    rows = tagged_rows()
    rows[7]["tags"].append("O")
    write_jsonl(file, rows)


def missing_column(file: Path) -> None:
    columns = texts_and_labels(2)
    pq.write_table(pa.table({"review": columns["text"], "label": columns["label"]}), file)


def broken_utf8(file: Path) -> None:
    lines = [b"text,label", *(b"a fine film,POSITIVE" for _ in range(20))]
    lines[8] = b"a caf\xe9 film,POSITIVE"
    file.write_bytes(b"\n".join(lines))


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def no_rows(file: Path) -> None:
    file.write_text("text,label\n")


CASES: dict[str, tuple[str, str, Callable[[Path], None], list[str]]] = {
    "unknown tag": (
        TAGGING,
        "rows.bio",
        unknown_tag,
        ["row 7", "unknown tag", "B-Actr"],
    ),
    "stray I-": (TAGGING, "rows.conll", stray_inside, ["row 7", "stray I- tag", "I-Actor", "'O'"]),
    "unequal lengths": (TAGGING, "rows.jsonl", unequal_lengths, ["row 7", "unequal lengths"]),
    "missing column": (
        TEXTS,
        "rows.parquet",
        missing_column,
        ["missing column 'text'", "review"],
    ),
    "broken UTF-8": (TEXTS, "rows.csv", broken_utf8, ["row 7", "broken UTF-8", "byte 0xe9"]),
    "empty file": (TEXTS, "rows.tsv", nothing, ["empty file"]),
    "empty parquet": (TEXTS, "rows.parquet", nothing, ["empty file"]),
    "no rows": (TEXTS, "rows.csv", no_rows, ["empty", "no rows"]),
    "extension": (TEXTS, "rows.xlsx", nothing, ["unsupported extension '.xlsx'", ".parquet"]),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def overrides(folder: Path, yaml: str, file: Path) -> list[str]:
    """A task of one's own beside the sample's, and an encoder whose loading would fail."""
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "mine.yaml").write_text(yaml.format(file=file))
    chosen = ["--config-dir", str(folder / "conf"), "+task@tasks.mine=mine", "logger=csv"]
    return [*chosen, "encoder=path", "encoder.name=/nope", f"hydra.run.dir={folder / 'run'}"]


@pytest.mark.parametrize("case", CASES)
def test_names_file_row_and_rule(case: str, tmp_path: Path) -> None:
    yaml, name, write, parts = CASES[case]
    write(tmp_path / name)
    done = called("train", *overrides(tmp_path, yaml, tmp_path / name))
    assert_refused(done, parts, file=tmp_path / name)
    assert_not_trained(tmp_path / "run", parts)


def test_a_broken_row_is_named_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    yaml, name, write, parts = CASES["unknown tag"]
    write(tmp_path / name)
    given = overrides(tmp_path, yaml, tmp_path / name)
    done = python("-c", HEAVY_AFTER, "train", *given, folder=tmp_path)
    assert done.out.splitlines()[-1].split() == ["heavy:"]
    assert_refused(done, parts, file=tmp_path / name)
    assert_not_trained(tmp_path / "run", parts)


def assert_refused(done: Done, parts: list[str], *, file: Path) -> None:
    assert done.status == 2
    assert "Traceback" not in done.out + done.err
    for part in ["'mine'", str(file), *parts]:
        assert part in done.message


def assert_not_trained(run: Path, parts: list[str]) -> None:
    """What says that the run stopped before the model: nothing of it is there."""
    assert not {"checkpoints", "bundle", "metrics.json"} & {file.name for file in run.iterdir()}
    if (run / "run.json").is_file():
        record = json.loads((run / "run.json").read_text())
        assert record["status"] == "failed"
        assert parts[-1].strip("'") in record["error"]
        assert "steps_per_epoch" not in record


def test_missing_file_is_known_before_the_run_starts(tmp_path: Path) -> None:
    done = called("train", *overrides(tmp_path, TEXTS, tmp_path / "rows.csv"))
    assert_refused(done, ["missing file"], file=tmp_path / "rows.csv")
    assert not (tmp_path / "run" / "run.json").exists()


def test_skipped_rows_are_counted(tmp_path: Path) -> None:
    unequal_lengths(tmp_path / "rows.jsonl")
    given = overrides(tmp_path, TAGGING, tmp_path / "rows.jsonl")[:-3]
    small = ["encoder=tiny", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    run = f"hydra.run.dir={tmp_path / 'run'}"
    done = called("train", *given, *small, run, "tasks.mine.on_bad_row=skip", "callbacks=plain")
    assert (done.status, done.err) == (0, "")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["skipped"] == {
        "sentiment": {},
        "movie": {},
        "mine": {"train": {"unequal lengths": 1}},
    }
