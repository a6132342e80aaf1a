"""Messages that point at rows."""

from __future__ import annotations

import pytest

from candelabra.data.files.table import SHOWN, BadRowError, Table, at_lines, shown
from candelabra.errors import DataError


def test_rows_count_from_0_and_lines_are_named_where_known() -> None:
    assert Table({"text": ["a"]}, "f").locate(0) == "row 0 (counted from 0)"
    assert at_lines([2, 5])(1) == "row 1 (counted from 0; line 5)"


def test_length_is_the_rows() -> None:
    assert len(Table({"text": ["a", "b"], "label": [0, 1]}, "f")) == 2
    assert len(Table({}, "f")) == 0


def test_missing_column_names_what_there_is_and_the_nearest() -> None:
    table = Table({"text": [], "label": []}, "train.csv")
    with pytest.raises(DataError, match=r"train\.csv: missing column 'texts'") as caught:
        table.column("texts", role="text")
    assert "'text', 'label'" in str(caught.value)
    assert "did you mean 'text'?" in str(caught.value)


def test_nearest_name_is_looked_for_only_when_shown() -> None:
    fault = BadRowError("unknown tag", "'B-Actr'", name="B-Actr", options=["O", "B-Actor"])
    assert fault.found == "'B-Actr'"
    assert str(fault) == "unknown tag: 'B-Actr'; did you mean 'B-Actor'?"


def test_shown_values_are_short_and_printable() -> None:
    assert len(shown("x" * 1000)) == SHOWN + 3
    assert shown("a\n\udcff").isprintable()
