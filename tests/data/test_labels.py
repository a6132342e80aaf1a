"""Label names and ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from candelabra.data.labels import MAX_INFERRED, LabelIds, infer_labels, read_labels
from candelabra.data.table import BadRowError, Table
from candelabra.errors import DataError


def column(values: list[object], role: str) -> list[str]:
    return infer_labels(Table({"x": values}, "train.csv"), {role: "x"})


def test_labels_from_a_list_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(["O", "B-Actor"]))
    assert read_labels(str(file)) == read_labels(file) == read_labels(("O", "B-Actor"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "empty"),
        (["a", "b", "a"], "'a' stands twice"),
        ([False, True], "position 0 must be a name, found False"),
        (["a", 1], "position 1 must be a name, found 1"),
        (["a", " "], "position 1 must be a name"),
        ({"a": 0}, "a list of names expected"),
        (3, "a list of names expected, found 3"),
    ],
)
def test_wrong_labels(labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(labels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[", "JSON list"), ('{"a": 0}', "a list of names expected"), ("[1]", "position 0 must be")],
)
def test_wrong_label_files(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"labels\.json.*{message}"):
        read_labels(file)


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: labels cannot be read: No such file"):
        read_labels(tmp_path / "absent.json")


def test_names_are_inferred_in_order() -> None:
    assert column(["pos", "neg", "pos", None, " "], "label") == ["neg", "pos"]


def test_numbers_are_inferred_up_to_the_largest() -> None:
    assert column([2, 0, 2, -1, None], "label") == ["0", "1", "2"]
    assert column([-1], "label") == ["0"]


def test_tags_are_inferred_o_first_and_in_pairs() -> None:
    tags = [["B-Year", "O"], None, ["B-Actor", "I-Actor"]]
    expected = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
    assert column(tags, "tags") == expected  # type: ignore[arg-type]


def test_what_is_no_tag_is_not_inferred() -> None:
    """The rows that hold it are bad ones; `to_examples` names them."""
    assert column([["PER", "_", None, "B-Year"]], "tags") == ["O", "B-Year", "I-Year"]
    assert column([["PER"]], "tags") == ["O"]


@pytest.mark.parametrize(
    ("values", "role", "message"),
    [
        (["a", 1], "label", "names and numbers mixed"),
        ([None, 0.5, True], "label", "neither names nor numbers"),
        ([[0, 1]], "tags", "tags are numbers"),
        ([str(n) for n in range(MAX_INFERRED + 1)], "label", "more than 1000"),
        ([10**12], "label", "more than 1000"),
    ],
)
def test_what_cannot_be_inferred(values: list[object], role: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv.*column 'x'.*{message}"):
        column(values, role)


def test_columns_without_labels_give_none_to_infer() -> None:
    with pytest.raises(DataError, match="no labels to infer"):
        infer_labels(Table({"x": ["a"]}, "f"), {"text": "x"})


def test_text_is_a_name_and_a_number_a_position() -> None:
    label_id = LabelIds(["NEGATIVE", "POSITIVE"])
    assert [label_id(cell) for cell in ("POSITIVE", 1, np.int64(0), "NEGATIVE")] == [1, 1, 0, 0]
    for cell in ("one", "positive"):
        with pytest.raises(BadRowError, match=r"unknown label: .* none of the 2 labels"):
            label_id(cell)


def test_where_all_names_are_numerals_a_number_is_a_name() -> None:
    stars = LabelIds(["1", "2", "3"])
    assert [stars(cell) for cell in (1, 3, "3", np.int32(2))] == [0, 2, 2, 1]
    for cell in (0, 4):
        with pytest.raises(BadRowError, match=f"label out of range: {cell}.*numbered 1 to 3"):
            stars(cell)
    assert LabelIds(["0"])(0) == 0


@pytest.mark.parametrize("cell", [None, 1.0, True, [1], b"a"])
def test_other_types_are_no_labels(cell: object) -> None:
    with pytest.raises(BadRowError, match="wrong type"):
        LabelIds(["a", "b"])(cell)


@pytest.mark.parametrize("cell", [-1, 2])
def test_out_of_range(cell: int) -> None:
    with pytest.raises(
        BadRowError, match=f"label out of range: {cell}; the 2 labels are numbered 0 to"
    ):
        LabelIds(["a", "b"])(cell)


def test_a_numeral_in_a_text_file_is_a_position() -> None:
    ids = LabelIds(["NEGATIVE", "POSITIVE"])
    assert [ids("0"), ids("1"), ids("POSITIVE")] == [0, 1, 1]
    with pytest.raises(BadRowError, match="out of range"):
        ids("2")
