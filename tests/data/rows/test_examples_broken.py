"""Every rule, tried on a small broken file: the message names file, row and rule."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from candelabra.data.files.readers import read_table
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import OnBadRow, to_examples
from candelabra.errors import DataError
from candelabra.records import Examples

TEXT = {"text": "text", "label": "label"}
WORDS = {"words": "tokens", "tags": "tags"}
TAGS = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
GOOD_TEXT = {"text": "fine", "label": "pos"}
GOOD_WORDS = {"tokens": ["max", "payne"], "tags": ["B-Actor", "I-Actor"]}


def read(path: Path, rows: list[dict[str, Any]]) -> Table:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_table(path)


def check(table: Table, on_bad_row: OnBadRow = "error") -> tuple[Examples, dict[str, int]]:
    tagged = "tokens" in table.columns
    return to_examples(
        table, WORDS if tagged else TEXT, TAGS if tagged else ["neg", "pos"], on_bad_row
    )


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("unknown label", {"text": "a", "label": "poz"}, "'poz' is none of the 2 labels; .*'pos'"),
    (
        "unknown label",
        {"text": "a", "label": 2},
        "2 is none of the 2 labels; numbers are positions",
    ),
    ("unknown label", {"text": "a", "label": "0"}, "'0' is none of the 2 labels"),
    ("wrong type", {"text": "a", "label": None}, "None where a name or a number of a label"),
    ("wrong type", {"text": "a", "label": 0.5}, "0.5"),
    ("wrong type", {"text": None, "label": 0}, "text expected, found None"),
    ("wrong type", {"text": 1995, "label": 0}, "text expected, found 1995"),
    ("empty text", {"text": "", "label": 0}, "''"),
    ("empty text", {"text": " \n", "label": 0}, r"' \\n'"),
    ("NUL byte", {"text": "a\0b", "label": "pos"}, "at character 1"),
    ("broken UTF-8", {"text": "a\ud800", "label": 0}, r"U\+D800 at character 1"),
    (
        "unknown tag",
        {"tokens": ["a", "max"], "tags": ["O", "B-Actr"]},
        r"'B-Actr' is none of the 5 tags \(word 1, 'max'\); did you mean 'B-Actor'",
    ),
    (
        "no BIO tag",
        {"tokens": ["a", "max"], "tags": ["O", "PER"]},
        r"'PER' \(word 1, 'max'\); a BIO tag is 'O', or 'B-' or 'I-' and an entity type",
    ),
    ("unknown tag", {"tokens": ["a"], "tags": [5]}, r"5 is none of the 5 .* \(word 0, 'a'\)"),
    ("no BIO tag", {"tokens": ["a"], "tags": ["0"]}, r"'0' \(word 0, 'a'\)"),
    ("wrong type", {"tokens": ["a"], "tags": [None]}, r"None .* \(word 0, 'a'\)"),
    ("stray I- tag", {"tokens": ["a"], "tags": ["I-Year"]}, "'I-Year' of word 0 follows nothing"),
    ("stray I- tag", {"tokens": ["a", "b"], "tags": ["O", "I-Year"]}, "word 1 follows 'O'"),
    ("stray I- tag", {"tokens": ["a", "b"], "tags": ["B-Actor", "I-Year"]}, "follows 'B-Actor'"),
    (
        "stray I- tag",
        {"tokens": ["a", "b", "c"], "tags": ["B-Actor", "I-Actor", "I-Year"]},
        "follows 'I-Actor'",
    ),
    ("unequal lengths", {"tokens": ["a", "b"], "tags": ["O"]}, "2 words, 1 tags"),
    ("no words", {"tokens": [], "tags": []}, "an empty list"),
    ("blank word", {"tokens": ["a", " "], "tags": ["O", "O"]}, "word 1 is ' '"),
    ("wrong type", {"tokens": ["a", 3], "tags": ["O", "O"]}, "word 1 is 3"),
    ("wrong type", {"tokens": "a b", "tags": ["O", "O"]}, "a list of words expected, found 'a b'"),
    ("wrong type", {"tokens": ["a"], "tags": "O"}, "tags must be a list, found 'O'"),
]


NO_SET: list[tuple[object, str]] = [
    (["joy", "joy"], "repeated label: 'joy' is repeated"),
    (["joi"], "unknown label: 'joi' is none of the 3 labels; did you mean 'joy'"),
    (["joy", None], "wrong type: None"),
    ("joy", "wrong type: a list of labels expected, found 'joy'"),
    (None, "wrong type: a list of labels expected, found None"),
    ({"joy": "yes"}, "wrong type: 'yes' for 'joy'; true, false or null"),
    ({"joy": 2}, "wrong type: 2 for 'joy'"),
    ({"hate": True}, "unknown label: 'hate'"),
]


@pytest.mark.parametrize(("cell", "message"), NO_SET)
def test_what_is_no_set_of_labels(cell: object, message: str) -> None:
    table = Table({"x": ["fine"], "y": [cell]}, "f")
    with pytest.raises(DataError, match=rf"f, row 0 \(counted from 0\): {message}"):
        to_examples(table, {"text": "x", "labels": "y"}, ["fear", "joy", "love"])


@pytest.mark.parametrize(
    "cell", ["", "3,5", "1_000", "\u0663", None, True, [1], math.nan, math.inf, "nan", 10**400]
)
def test_what_is_no_number(cell: object) -> None:
    table = Table({"x": ["fine"], "y": [cell]}, "f")
    with pytest.raises(
        DataError, match=r"f, row 0 \(counted from 0\): no number: a finite number expected, found"
    ):
        to_examples(table, {"text": "x", "number": "y"}, [])


@pytest.mark.parametrize(("rule", "row", "found"), BAD)
def test_error_names_file_row_line_rule_and_found(
    rule: str, row: dict[str, Any], found: str, tmp_path: Path
) -> None:
    good = GOOD_WORDS if "tokens" in row else GOOD_TEXT
    table = read(tmp_path / "x.jsonl", [good, row, good])
    place = rf"x\.jsonl, row 1 \(counted from 0; line 2\): {rule}: .*{found}"
    with pytest.raises(DataError, match=rf"{place}.*Bad rows: 1 of 3 \({rule} 1\)"):
        check(table)


@pytest.mark.parametrize(("rule", "row", "found"), BAD)
def test_skip_drops_and_counts(rule: str, row: dict[str, Any], found: str, tmp_path: Path) -> None:
    good = GOOD_WORDS if "tokens" in row else GOOD_TEXT
    examples, skipped = check(read(tmp_path / "x.jsonl", [good, row, good]), "skip")
    assert examples.rows == [0, 2]
    assert skipped == {rule: 1}


def test_one_message_counts_all_bad_rows_by_rule(tmp_path: Path) -> None:
    rows = [GOOD_TEXT, {"text": "", "label": "pos"}, {"text": "a", "label": "x"}, {"label": "pos"}]
    file = tmp_path / "x.jsonl"
    read(file, [*rows, rows[2]])
    file.write_text(file.read_text() + "{broken\n")
    with pytest.raises(DataError, match=r"row 1 \(counted from 0; line 2\): empty text") as caught:
        check(read_table(file))
    message = str(caught.value)
    assert "5 of 6 (unknown label 2, empty text 1, wrong type 1, broken JSON 1)" in message
    assert "\n" not in message


def test_missing_column_names_file_columns_and_nearest(tmp_path: Path) -> None:
    table = read(tmp_path / "x.jsonl", [{"txt": "a", "label": 0}])
    with pytest.raises(DataError, match=r"x\.jsonl: missing column 'text' .*'txt', 'label'; did"):
        check(table)
