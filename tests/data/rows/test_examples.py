"""Rows of every shape become examples, and missing labels are counted apart."""

from __future__ import annotations

import math
from typing import Any

import pytest

from candelabra.data.files.table import Table
from candelabra.data.rows.examples import NO_LABEL, to_examples
from candelabra.errors import DataError
from candelabra.records import IGNORED

TEXT = {"text": "text", "label": "label"}
WORDS = {"words": "tokens", "tags": "tags"}
TAGS = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]


SEVERAL: list[tuple[object, list[int]]] = [
    (["joy", "fear"], [1, 1, 0]),
    ([], [0, 0, 0]),
    ([2, 1], [0, 1, 1]),
    ({"joy": True, "fear": False, "love": None}, [0, 1, IGNORED]),
    ({"love": 1, "fear": 0}, [0, IGNORED, 1]),
    ({}, [IGNORED] * 3),
]


@pytest.mark.parametrize(("cell", "expected"), SEVERAL)
def test_several_labels(cell: object, expected: list[int]) -> None:
    table = Table({"x": ["fine"], "y": [cell]}, "f")
    examples, _ = to_examples(table, {"text": "x", "labels": "y"}, ["fear", "joy", "love"])
    assert examples.labels == [expected]


@pytest.mark.parametrize(("cell", "expected"), [(3, 3.0), (2.5, 2.5), ("-1e3", -1000.0), (0, 0.0)])
def test_numbers(cell: object, expected: float) -> None:
    table = Table({"x": ["fine"], "y": [cell]}, "f")
    (found,) = to_examples(table, {"text": "x", "number": "y"}, [])[0].labels
    assert (found, type(found)) == (expected, float)


@pytest.mark.parametrize("roles", [{"txt", "label"}, {"text", "tags"}, {"label"}, set()])
def test_columns_that_fit_no_shape(roles: set[str]) -> None:
    with pytest.raises(DataError, match=r"columns must name \{text, label\} or \{words, tags\}"):
        to_examples(Table({}, "f"), dict.fromkeys(roles, "x"), [])


def test_on_bad_row_is_error_or_skip() -> None:
    with pytest.raises(DataError, match="on_bad_row must be error or skip, found 'drop'"):
        to_examples(Table({}, "f"), TEXT, [], "drop")  # type: ignore[arg-type]


def test_roles_may_come_in_any_order() -> None:
    table = Table({"x": ["fine"], "y": [1]}, "f")
    examples, _ = to_examples(table, {"label": "y", "text": "x"}, ["neg", "pos"])
    assert (examples.texts, examples.labels, examples.words) == ((["fine"],), [1], None)


def test_unlabelled_rows_are_ignored_by_every_loss() -> None:
    texts, _ = to_examples(Table({"x": ["fine"]}, "f"), {"text": "x"}, [])
    assert (texts.texts, texts.labels) == ((["fine"],), [IGNORED])
    words, _ = to_examples(Table({"x": [["a", "b"]]}, "f"), {"words": "x"}, [])
    assert (words.texts, words.labels) == ((["a b"],), [[IGNORED, IGNORED]])
    assert words.words == [[(0, 1), (2, 3)]]


def test_all_rows_skipped_gives_no_examples() -> None:
    examples, skipped = to_examples(Table({"x": [1]}, "f"), {"text": "x"}, [], "skip")
    assert (len(examples), skipped) == (0, {"wrong type": 1})


def test_labels_of_a_tagging_task_are_bio_tags() -> None:
    table = Table({"tokens": [["dogs", "bark"]], "tags": [["NOUN", "VERB"]]}, "f")
    with pytest.raises(DataError, match=r"labels: a BIO tag is 'O'.*; found 'NOUN'"):
        to_examples(table, WORDS, ["O", "NOUN", "VERB"])


def test_ids_not_in_bio_pairs_are_understood() -> None:
    table = Table({"tokens": [["a", "b"]], "tags": [[1, 3]]}, "f")
    labels = ["O", "B-Genre", "B-Year", "I-Genre", "I-Year"]
    assert to_examples(table, WORDS, labels)[0].labels == [[1, 3]]
    table = Table({"tokens": [["a", "b"]], "tags": [[1, 4]]}, "f")
    with pytest.raises(DataError, match="stray I- tag: 'I-Year' of word 1 follows 'B-Genre'"):
        to_examples(table, WORDS, labels)


def test_rows_without_a_label_are_left_out_and_counted_apart() -> None:
    cells = ["pos", None, "", " ", math.nan, "neg", "poz"]
    table = Table({"x": ["fine"] * 7, "y": cells}, "f")
    columns = {"text": "x", "label": "y"}
    examples, counts = to_examples(
        table, columns, ["neg", "pos"], on_bad_row="skip", missing_labels="skip"
    )
    assert (examples.rows, examples.labels) == ([0, 5], [1, 0])
    assert counts == {"unknown label": 1, NO_LABEL: 4}
    with pytest.raises(
        DataError, match=r"row 6 \(counted from 0\): unknown label: .*Bad rows: 1 of 7"
    ):
        to_examples(table, columns, ["neg", "pos"], missing_labels="skip")
    with pytest.raises(DataError, match=r"row 1 \(counted from 0\): wrong type: None where a name"):
        to_examples(table, columns, ["neg", "pos"])


@pytest.mark.parametrize(
    ("role", "missing", "held"),
    [("labels", [None], [["neg"], [], {}]), ("number", [None, math.nan, ""], [0, -1.5])],
)
def test_an_empty_set_and_zero_are_answers(
    role: str, missing: list[object], held: list[object]
) -> None:
    table = Table({"x": ["fine"] * len(missing + held), "y": [*missing, *held]}, "f")
    labels = ["neg", "pos"] if role == "labels" else []
    examples, counts = to_examples(table, {"text": "x", role: "y"}, labels, missing_labels="skip")
    assert examples.rows == list(range(len(missing), len(missing + held)))
    assert counts == {NO_LABEL: len(missing)}


def test_a_words_missing_tag_does_not_count() -> None:
    tags: list[object] = [
        ["B-Actor", None, "I-Actor"],
        ["_", "I-Actor", "O"],
        [None, "_", None],
        None,
        ["O", "O", "I-Actor"],
    ]
    table = Table({"tokens": [["a", "b", "c"]] * 5, "tags": tags}, "f")
    examples, counts = to_examples(table, WORDS, TAGS, on_bad_row="skip", missing_labels="skip")
    assert examples.labels == [[1, IGNORED, 2], [IGNORED, 2, 0]]
    assert counts == {"stray I- tag": 1, NO_LABEL: 2}


def test_an_underscore_that_is_a_label_is_one() -> None:
    table = Table({"text": ["a"], "y": [["_"]]}, "f")
    columns = {"text": "text", "labels": "y"}
    examples, _ = to_examples(table, columns, ["_", "joy"], missing_labels="skip")
    assert examples.labels == [[1, 0]]


def test_missing_labels_is_error_or_skip() -> None:
    with pytest.raises(DataError, match="missing_labels must be error or skip, found 'drop'"):
        to_examples(Table({}, "f"), TEXT, [], missing_labels="drop")  # type: ignore[arg-type]


PAIRS = {"a": ["one", "two", "three"], "b": ["1", "2", "3"]}


def test_scores_of_pairs_become_zero_to_one() -> None:
    table = Table({**PAIRS, "s": [0, 2.5, "5"]}, "here")
    columns = {"sentence1": "a", "sentence2": "b", "score": "s"}
    found, _ = to_examples(table, columns, (), score_range=(0, 5))
    assert found.texts == (PAIRS["a"], PAIRS["b"])
    assert found.labels == [0, 0.5, 1]
    with pytest.raises(DataError, match=r"row 1 .*score out of range: 2.5; score_range is 0 to 1"):
        to_examples(table, columns, ())
    for wrong in ((5, 0), (0,), (1, 1), ("a", "b")):
        with pytest.raises(DataError, match="score_range must be the lowest and the highest"):
            to_examples(table, columns, (), score_range=wrong)


def test_pairs_and_triplets() -> None:
    table = Table({**PAIRS, "c": ["x", "y", "z"], "l": ["no", "yes", "no"]}, "here")
    columns = {"sentence1": "a", "sentence2": "b", "label": "l"}
    labelled, _ = to_examples(table, columns, ("no", "yes"))
    assert (labelled.texts, labelled.labels) == ((PAIRS["a"], PAIRS["b"]), [0, 1, 0])
    pairs, _ = to_examples(table, {"positive": "b", "anchor": "a"}, ())
    assert (pairs.texts, pairs.labels) == ((PAIRS["a"], PAIRS["b"]), [1.0] * 3)
    roles = {"anchor": "a", "positive": "b", "negative": "c"}
    triplets, _ = to_examples(table, roles, ())
    assert triplets.texts == (PAIRS["a"], PAIRS["b"], ["x", "y", "z"])


def test_every_text_of_a_row_is_checked() -> None:
    table = Table({**PAIRS, "c": ["x", " ", None]}, "here")
    roles = {"anchor": "a", "positive": "b", "negative": "c"}
    with pytest.raises(DataError, match=r"row 1 .*empty text: ' '.*Bad rows: 2 of 3"):
        to_examples(table, roles, ())
    kept, counts = to_examples(table, roles, (), "skip")
    assert (len(kept), counts) == (1, {"empty text": 1, "wrong type": 1})


def labels_of(cells: list[Any], labels: list[str], **rules: Any) -> list[Any]:
    table = Table({"x": ["fine"] * len(cells), "y": cells}, "f")
    return to_examples(table, {"text": "x", "label": "y"}, labels, **rules)[0].labels


def test_numbers_are_read_by_name_or_for_the_whole_column_by_position() -> None:
    assert labels_of([1, 0, 1], ["neg", "pos"]) == [1, 0, 1]
    assert labels_of(["1", "0"], ["neg", "pos"]) == [1, 0]
    assert labels_of([-1, 0, 1], ["-1", "0", "1"]) == [0, 1, 2]
    assert labels_of([1, 5, 2], ["1", "2", "3", "4", "5", "n/a"]) == [0, 4, 1]
    assert labels_of(["1", "4.0"], ["1.0", "2.0", "3.0", "4.0", "5.0"]) == [0, 3]
    for cells in (["pos", 1], ["pos", "1"]):
        with pytest.raises(DataError, match=r"row 1 .*unknown label: '?1'? is none of the 2"):
            labels_of(cells, ["neg", "pos"])
    with pytest.raises(DataError, match=r"row 0 .*unknown label: 1 is none of the 2"):
        labels_of([1, 0], ["neg", "pos"], named=True)


def test_a_gap_that_made_floats_of_integers_is_a_missing_label() -> None:
    cells = [0.0, math.nan, 1.0]
    for labels in (["0", "1"], ["neg", "pos"]):
        assert labels_of(cells, labels, missing_labels="skip") == [0, 1]
        assert labels_of(cells, labels, on_bad_row="skip") == [0, 1]


@pytest.mark.parametrize("tag", ["0", "1", 0])
def test_a_tag_that_looks_like_a_number_is_no_tag(tag: object) -> None:
    table = Table({"tokens": [["Ana", "lives"]], "tags": [["B-Actor", tag]]}, "f")
    with pytest.raises(DataError, match=r"(no BIO|unknown) tag: .*\(word 1, 'lives'\)"):
        to_examples(table, WORDS, ["B-Actor", "I-Actor", "O"])
    assert to_examples(table, WORDS, TAGS, "skip")[0].labels == []


@pytest.mark.parametrize("rows", [[[1, 0], [0, 1]], [[1.0, 0.0, 0.0]], [[True, False], None]])
def test_flags_for_each_label_are_no_lists_of_labels(rows: list[Any]) -> None:
    """Otherwise [1, 0] and [0, 1] would both say that both labels apply."""
    table = Table({"x": ["a"] * len(rows), "y": rows}, "f.jsonl")
    for labels in (["p", "q"], ["0", "1"]):
        with pytest.raises(DataError, match=r"f\.jsonl: column 'y' holds 0 or 1 for each label, "):
            to_examples(table, {"text": "x", "labels": "y"}, labels)


def test_two_labels_of_every_row_are_no_flags() -> None:
    table = Table({"x": ["a", "b"], "y": [[0, 1], [0, 1]]}, "f.jsonl")
    found, _ = to_examples(table, {"text": "x", "labels": "y"}, ["0", "1"])
    assert found.labels == [[1, 1], [1, 1]]
