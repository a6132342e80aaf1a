"""Texts without labels at the end of a train split, for a teacher to answer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from candelabra.data.collate import tokenize_task
from candelabra.data.file_source import Files
from candelabra.data.files.table import Table
from candelabra.data.loading import TaskData, load_task
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import DataError
from candelabra.records import IGNORED

PAIR = {"sentence1": "a", "sentence2": "b"}
CASES: dict[str, tuple[dict[str, str], list[str] | None, dict[str, Any], Any]] = {
    "classes": ({"text": "a", "label": "y"}, ["no", "yes"], {"y": "yes"}, IGNORED),
    "several": ({"text": "a", "labels": "y"}, ["no", "yes"], {"y": ["yes"]}, [IGNORED, IGNORED]),
    "numbers": ({"text": "a", "number": "y"}, None, {"y": 3.5}, math.nan),
    "scores": ({**PAIR, "score": "y"}, None, {"y": 0.5}, math.nan),
    "pairs": ({**PAIR, "label": "y"}, ["no", "yes"], {"y": "no"}, IGNORED),
    "tags": ({"words": "w", "tags": "y"}, ["O", "B-X", "I-X"], {"y": ["B-X", "O"]}, [IGNORED] * 2),
}
NUM_LABELLED, NUM_EXTRA = 6, 3


class Rows:
    """A source in memory."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def read(self, split: str) -> Table | None:
        return Table(self.columns, where=split) if split != "validation" else None

    def check(self) -> None:
        return None


def cells(row: int) -> dict[str, Any]:
    return {"a": f"a film {row}", "b": f"the film {row}", "w": ["film", str(row)]}


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "more.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def loaded(case: str, file: str | None, **settings: Any) -> TaskData:
    columns, labels, target, _ = CASES[case]
    rows = [cells(row) | target for row in range(NUM_LABELLED)]
    source = Rows({name: [row[name] for row in rows] for name in rows[0]})
    return load_task(
        "it",
        source=source,
        columns=columns,
        labels=labels,
        validation=1,
        unlabelled=file,
        **settings,
    )


def extra_rows(count: int = NUM_EXTRA) -> list[dict[str, Any]]:
    """Rows whose column of labels, if it is there, holds what is no label."""
    return [cells(100 + row) | ({"y": "?"} if row % 2 else {}) for row in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_the_rows_follow_the_labelled_ones_without_labels(
    case: str, tmp_path: Path, tokenizer: TextTokenizer
) -> None:
    plain, data = loaded(case, None), loaded(case, written(tmp_path, extra_rows()))
    train, labelled = data.splits["train"], plain.splits["train"]
    num = len(labelled)
    assert train.take(list(range(num))) == labelled
    assert len(train) == num + NUM_EXTRA
    columns = CASES[case][0]
    expected = [cells(100 + row) for row in range(NUM_EXTRA)]
    texts = [[row[name] for row in expected] for role, name in columns.items() if name in "ab"]
    assert [column[num:] for column in train.texts] == (
        texts or [[" ".join(row["w"]) for row in expected]]
    )
    assert repr(train.labels[num:]) == repr([CASES[case][3]] * NUM_EXTRA)
    assert train.rows[num:] == [NUM_LABELLED + row for row in range(NUM_EXTRA)]
    assert (data.teacher_only, plain.teacher_only) == (NUM_EXTRA, 0)
    # Nothing but the train split changes, and no labels are counted.
    assert data.fingerprint["train"] != plain.fingerprint["train"]
    assert data.fingerprint["test"] == plain.fingerprint["test"]
    assert data.fingerprint["validation"] == plain.fingerprint["validation"]
    assert data.counts == plain.counts
    units = tokenize_task(data, tokenizer)["train"].units
    assert list(units[:num]) == list(tokenize_task(plain, tokenizer)["train"].units)
    assert not units[num:].any()


def test_a_changed_text_changes_the_fingerprint(tmp_path: Path) -> None:
    rows = extra_rows()
    one = loaded("classes", written(tmp_path, rows)).fingerprint
    rows[-1]["a"] += "!"
    assert loaded("classes", written(tmp_path, rows)).fingerprint["train"] != one["train"]


def test_a_single_split_is_evaluated_without_them(tmp_path: Path) -> None:
    data = loaded("classes", written(tmp_path, extra_rows()), only="train")
    assert (len(data.splits["train"]), data.teacher_only) == (NUM_LABELLED - 1, 0)


def test_limits_are_those_of_the_labelled_rows(tmp_path: Path) -> None:
    data = loaded("classes", written(tmp_path, extra_rows()), limit={"train": 2})
    assert len(data.splits["train"]) == 2 + NUM_EXTRA


def test_bad_rows_are_an_error_or_skipped_and_counted(tmp_path: Path) -> None:
    file = written(tmp_path, [*extra_rows(), {"a": " "}])
    with pytest.raises(DataError, match=r"row 3 .*: empty text: .*on_bad_row=skip drops"):
        loaded("classes", file)
    data = loaded("classes", file, on_bad_row="skip")
    assert data.skipped == {"unlabelled": {"empty text": 1}}
    assert data.teacher_only == NUM_EXTRA
    with pytest.raises(DataError, match=r"more.jsonl: no row is left of 1, skipped: empty text 1"):
        loaded("classes", written(tmp_path, [{"a": " "}]), on_bad_row="skip")


@pytest.mark.parametrize(
    ("case", "row", "named"),
    [
        ("classes", {"b": "text"}, r"missing column 'a' \(for text\); it has 'b'"),
        ("scores", {"a": "text"}, r"missing column 'b' \(for sentence2\); it has 'a'"),
        ("tags", {"w": "a film"}, "row 0 .*a list of words expected, found 'a film'"),
        ("classes", {"a": ["a", "film"]}, "row 0 .*text expected"),
    ],
)
def test_a_file_in_another_form_is_named(
    case: str, row: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"task 'it': .*more.jsonl.*{named}"):
        loaded(case, written(tmp_path, [row]))


def test_the_format_of_the_task_s_files_is_that_of_the_texts_too(tmp_path: Path) -> None:
    lines = {"train.bio": "B-X\tLuc\nO\tfilms\n", "more.bio": "O\tmore\nO\tfilms\n"}
    for name, sentence in lines.items():
        (tmp_path / name).write_text("\n".join([sentence] * 8))
    task = load_task(
        "who",
        source=Files("train.bio", folder=str(tmp_path), tag_first=True),
        columns={"words": "tokens", "tags": "tags"},
        labels=["O", "B-X", "I-X"],
        unlabelled=str(tmp_path / "more.bio"),
    )
    (texts,) = task.splits["train"].texts
    assert texts[-task.teacher_only :] == ["more films"] * 8


def test_the_texts_may_lie_in_other_folders_than_those_of_the_labels(tmp_path: Path) -> None:
    for place in ("films/neg", "films/pos", "more/unsup"):
        (tmp_path / place).mkdir(parents=True)
        for row in range(8):
            (tmp_path / place / f"{row}.txt").write_text(f"{place} {row}")
    task = load_task(
        "mood",
        source=Files("films", folder=str(tmp_path), subfolders=["neg", "pos"]),
        columns={"text": "text", "label": "label"},
        labels=["neg", "pos"],
        unlabelled=str(tmp_path / "more"),
    )
    (texts,) = task.splits["train"].texts
    assert texts[-task.teacher_only :] == [f"more/unsup {row}" for row in range(8)]
