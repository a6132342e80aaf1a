"""Label names and ids."""

from __future__ import annotations

import json
import math
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from candelabra.data.files.table import BadRowError, Table
from candelabra.data.rows.labels import (
    MAX_INFERRED,
    LabelIds,
    are_positions,
    infer_labels,
    read_labels,
)
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
        (["a", "b", "a"], "'a' is repeated"),
        ([False, True], "position 0 must be a name, found False"),
        (["1", "1.0"], "'1.0' is repeated, since '1' is the same label"),
        (["a", 1], "position 1 must be a name, found 1"),
        (["a", " "], "position 1 must be a name"),
        (["a", "\udce9"], "position 1 has broken UTF-8"),
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


def test_a_negative_number_is_a_label_only_if_labels_name_it() -> None:
    """Data sets mark rows without a label by -1, so no message advises to skip a class."""
    label_id = LabelIds(["0", "1"])
    with pytest.raises(BadRowError, match=r"unknown label: -1 .*only if it is among .* given$"):
        label_id(-1)


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
        ([1, True], "label", "numbers and booleans mixed"),
        ([None, 0.5], "label", "neither names nor numbers: 0.5; write labels as text or whole"),
        ([b"a", b"b"], "label", "neither names nor numbers: b'a'; write labels as text"),
        ([date(2026, 1, 2)], "label", r"neither names nor numbers: .*; write labels as text"),
        ([None, " "], "label", "no label at all"),
        ([[0, 1]], "tags", "tags are numbers"),
        ([str(n) for n in range(MAX_INFERRED + 1)], "label", "more than 1000"),
        ([10**12, 3], "label", "found 1000000000000, not below 1000; give labels"),
    ],
)
def test_what_cannot_be_inferred(values: list[object], role: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv.*column 'x'.*{message}"):
        column(values, role)


@pytest.mark.parametrize("value", ["a", 0, 1, -1, True])
def test_one_label_alone_is_refused_by_file_and_column(value: object) -> None:
    with pytest.raises(
        DataError, match=rf"train\.csv: column 'x' must hold two or more labels, .*{value}"
    ):
        column([value, value, None], "label")


def test_columns_without_labels_give_none_to_infer() -> None:
    with pytest.raises(DataError, match="no labels to infer"):
        infer_labels(Table({"x": ["a"]}, "f"), {"text": "x"})


def test_a_cell_is_read_by_its_name() -> None:
    label_id = LabelIds(["NEGATIVE", "POSITIVE"])
    assert [label_id(cell) for cell in ("POSITIVE", "NEGATIVE")] == [1, 0]
    for cell in ("one", "positive", "0", "1", 0, 1, np.int64(1), 1.0, True, -1):
        with pytest.raises(BadRowError, match=r"unknown label: .* none of the 2 labels"):
            label_id(cell)


def test_a_number_is_the_name_that_it_spells() -> None:
    stars = LabelIds(["1", "2", "3", "n/a"])
    cells = (1, 3, "3", np.int32(2), 2.0, "1.0", "3.00", np.float32(1))
    assert [stars(cell) for cell in cells] == [0, 2, 2, 1, 1, 0, 2, 0]
    for cell in (0, 4, "0", 4.0, "1_0", "\u0663", "01", "+1", "1."):
        with pytest.raises(BadRowError, match="unknown label"):
            stars(cell)
    assert [LabelIds(["-1", "0", "1"])(cell) for cell in (-1, 0, 1, -0.0)] == [0, 1, 2, 1]
    assert [LabelIds(["1.0", "2.0"])(cell) for cell in (1, "1", "2.0", 2.0)] == [0, 0, 1, 1]


def test_booleans_are_two_labels() -> None:
    assert column([True, None, False], "label") == ["False", "True"]
    for names in (["False", "True"], ["false", "true"]):
        label_id = LabelIds(names)
        assert [label_id(cell) for cell in (True, False, names[0])] == [1, 0, 0]
        for cell in (0, 1, 1.0):
            with pytest.raises(BadRowError, match="unknown label"):
                label_id(cell)


@pytest.mark.parametrize("cell", [None, 0.5, math.inf, math.nan, [1], b"a"])
def test_other_types_are_no_labels(cell: object) -> None:
    with pytest.raises(BadRowError, match="wrong type"):
        LabelIds(["a", "b"])(cell)


@pytest.mark.parametrize("cell", [0.5, Decimal("1.5"), math.inf])
def test_a_number_that_is_not_whole_says_how_to_write_it(cell: object) -> None:
    with pytest.raises(BadRowError, match=r"; write labels as text or whole numbers$"):
        LabelIds(["0", "1"])(cell)


@pytest.mark.parametrize("cell", [None, math.nan])
def test_a_missing_label_says_how_to_leave_out_its_row(cell: object) -> None:
    with pytest.raises(BadRowError, match=r"; missing_labels=skip omits rows without a label$"):
        LabelIds(["0", "1"])(cell)


@pytest.mark.parametrize("cell", [-1, 2, "2", "9" * 9999, 2.0])
def test_out_of_range(cell: object) -> None:
    with pytest.raises(
        BadRowError, match=r"label out of range: .*; the 2 labels are numbered 0 to"
    ):
        LabelIds(["a", "b"], positions=True)(cell)


def test_positions_are_those_of_a_whole_column() -> None:
    names = ["NEGATIVE", "POSITIVE"]
    for cells in ([0, 1], ["0", "1"], [1.0, None, 0.0, math.nan], ["1", "", "0"], [5, -1]):
        assert are_positions(cells, names)
        assert not are_positions([*cells, "POSITIVE"], names)
        assert not are_positions(cells, [*names, "1"])
    for cells in ([], [None, ""], [True, False], [0.5, 1], ["1_0"], ["\u0663"]):
        assert not are_positions(cells, names)


def test_whole_floats_are_inferred_as_their_integers() -> None:
    assert column([0.0, 1.0, math.nan, None], "label") == ["0", "1"]
    assert column(["1.0", "2", "5.0"], "label") == ["1", "2", "5"]
    assert column([Decimal("1.00"), Decimal(0), None], "label") == ["0", "1"]
    assert [LabelIds(["1", "2"])(cell) for cell in (Decimal("2.0"), Decimal(1))] == [1, 0]
    for cell in (Decimal("1.5"), Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(BadRowError, match="wrong type"):
            LabelIds(["1", "2"])(cell)


@pytest.mark.parametrize(
    "other", ["Pos", "pos ", "\tpos", "p\x07os", "pos\u200b", "\ufeffpos", "\uff50os"]
)
def test_a_class_that_looks_like_another_is_named_with_its_row(other: str) -> None:
    with pytest.raises(DataError, match=r"row 2 .* differs from 'pos' of row 0 .* give labels"):
        column(["pos", "neg", other, other], "label")
    with pytest.raises(DataError, match=r"row 1 .* differs from 'pos' of row 0 "):
        column([["pos"], ["neg", other]], "labels")


def test_a_nul_byte_is_in_no_class() -> None:
    with pytest.raises(DataError, match=r"row 1 .*has a NUL byte: 'neg\\x00'"):
        column(["pos", "neg\0"], "label")


@pytest.mark.parametrize("role", ["label", "tags"])
def test_a_broken_text_is_no_class(role: str) -> None:
    """Readers keep a byte that is not UTF-8, which no file of a run could hold."""
    with pytest.raises(DataError, match=r"row 1 .*has broken UTF-8: 'B-n\\udce9"):
        column(["B-pos", "B-n\udce9"], role)


def test_numerals_of_other_scripts_are_names() -> None:
    assert column(["1_000", "\u0663", "3"], "label") == ["1_000", "3", "\u0663"]
