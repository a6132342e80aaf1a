"""Read or infer the names of labels, and convert cells to label ids."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from candelabra.data.bio import is_tag, parse_tag, tag_names
from candelabra.data.files.table import BadRowError, Table, shown
from candelabra.data.rows.cells import is_broken, without_case
from candelabra.errors import DataError

LABELLED = ("label", "labels", "tags")
"""Roles of columns that contain labels."""

NUMERAL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
"""Whole number as text. `01`, `1_000` and digits of other scripts are names, not numbers."""

MAX_INFERRED = 1000
"""Maximum number of inferred labels; a column with more values is probably the wrong one."""


def read_labels(labels: Sequence[str] | str | Path) -> list[str]:
    """Return the names of a task's labels; the position of a name is its id.

    Args:
        labels: Names, or path of a JSON file with a list of them.

    Raises:
        DataError: If the file is missing or broken, or the names are not distinct texts.
    """
    where = "labels"
    names: Any = labels
    if isinstance(labels, (str, Path)):
        where, names = f"labels of {labels}", _json_file(Path(labels))
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        raise DataError(f"{where}: a list of names expected, found {shown(names)}")
    checked: list[str] = []
    for position, name in enumerate(names):
        if isinstance(name, str) and is_broken(name):
            raise DataError(f"{where}: position {position} has broken UTF-8: {shown(name)}")
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{where}: position {position} must be a name, found {shown(name)}; "
                "in yaml, numbers and words like yes and no are names only in quotes"
            )
        if spelled(name) in map(spelled, checked):
            alike = "" if name in checked else f", since {spelled(name)!r} is the same label"
            raise DataError(f"{where}: {name!r} is repeated{alike}")
        checked.append(name)
    if not checked:
        raise DataError(f"{where}: the list is empty")
    return checked


def _json_file(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: a JSON list of label names expected: {error}") from error


def infer_labels(table: Table, columns: Mapping[str, str]) -> list[str]:
    """Infer the names of the labels from a split.

    Args:
        table: Train split.
        columns: Columns of the task, including `label`, `labels` or `tags`.

    Returns:
        Names in alphabetical order. For tags, `O` comes first, then `B-` and `I-` of each type,
        even if only one of them occurs; invalid tags are ignored. For integers, the names are "0"
        up to the largest. For booleans they are "False" and "True".

    Raises:
        DataError: If the column is missing, or its values cannot be labels.
    """
    role = next((role for role in LABELLED if role in columns), None)
    if role is None:
        raise DataError(f"no labels to infer: columns name no label and no tags, only {columns}")
    values = table.column(columns[role], role=role)
    cells = list(single_cells(values, listed=role != "label"))
    where = f"{table.where}: labels cannot be inferred from column {columns[role]!r}"
    names = {spelled(cell) for cell in cells if isinstance(cell, str) and cell.strip()}
    numbers = [int(spelled(cell)) for cell in cells if _is_number(cell)]
    answers = [cell for cell in cells if _is_bool(cell)]
    kinds = {"names": names, "numbers": numbers, "booleans": answers}
    found = [kind for kind, held in kinds.items() if held]
    if len(found) != 1:
        if found:
            raise DataError(f"{where}: found {' and '.join(found)} mixed; give labels")
        if table.faults and all(map(_is_empty, cells)):
            row, fault = min(table.faults.items())
            raise DataError(f"{table.where}, {table.locate(row)}: {fault}")
        other = next((cell for cell in cells if not _is_empty(cell)), None)
        held = "no label at all" if other is None else f"neither names nor numbers: {shown(other)}"
        raise DataError(f"{where}: found {held}; write labels as text or whole numbers")
    if role == "tags" and not names:
        raise DataError(f"{where}: tags are {found[0]}; give labels, so that B- and I- are known")
    if len(names) > MAX_INFERRED:
        raise DataError(f"{where}: more than {MAX_INFERRED} of them; give labels")
    if max(numbers, default=0) >= MAX_INFERRED:
        raise DataError(f"{where}: found {max(numbers)}, not below {MAX_INFERRED}; give labels")
    _check_spelling(table, values, listed=role != "label", where=where)
    if role == "label" and len(distinct := {*names, *numbers, *answers}) == 1:
        raise DataError(
            f"{table.where}: column {columns[role]!r} must hold two or more labels, found "
            f"{shown(distinct.pop())} in every row"
        )
    if answers:
        return [str(False), str(True)]
    if numbers:
        return [str(number) for number in range(max(0, *numbers) + 1)]
    if role == "tags":
        return tag_names({parse_tag(name)[1] for name in names if is_tag(name)} - {""})
    return sorted(names)


def _check_spelling(table: Table, values: Sequence[object], *, listed: bool, where: str) -> None:
    """Raise DataError if two names look the same, or one has a NUL byte or broken UTF-8."""
    first: dict[str, tuple[str, int]] = {}
    seen: set[str] = set()
    for row, value in enumerate(values):
        for name in single_cells([value], listed=listed):
            if not isinstance(name, str) or name in seen or not name.strip():
                continue
            seen.add(name)
            if "\0" in name:
                raise DataError(f"{where}: {table.locate(row)} has a NUL byte: {shown(name)}")
            if is_broken(name):
                raise DataError(f"{where}: {table.locate(row)} has broken UTF-8: {shown(name)}")
            other, before = first.setdefault(_looks(name), (spelled(name), row))
            if other != spelled(name):
                raise DataError(
                    f"{where}: {shown(name)} of {table.locate(row)} differs from {shown(other)} of "
                    f"{table.locate(before)} only by case, white space, control characters or the "
                    "form of a character; correct it, or give labels"
                )


def _looks(name: str) -> str:
    """Return the visible characters of a name in lower case and in one form (NFKC)."""
    same = unicodedata.normalize("NFKC", without_case(name))
    kept = (char for char in same if unicodedata.category(char) not in ("Cc", "Cf"))
    return "".join(kept).strip()


def single_cells(values: Iterable[object], *, listed: bool = True) -> Iterator[object]:
    """Yield each label of a column, including the items of lists and the keys of mappings."""
    for value in values:
        if listed and isinstance(value, (list, Mapping)):
            yield from value
        else:
            yield value


def spelled(value: object) -> str:
    """Return the label name that a cell contains, with whole numbers written as integers.

    pandas writes the integers of a column with missing values as floats. Therefore 1, 1.0 and "1.0"
    are all the label "1".

    Raises:
        ValueError: If the cell is neither a text nor a whole number nor a boolean.
    """
    if _is_number(value):
        return str(int(value))  # type: ignore[call-overload]
    if _is_bool(value):
        return str(bool(value))
    if not isinstance(value, str):
        raise ValueError("no label")
    numeral = NUMERAL.fullmatch(value)
    name = value if numeral is None else numeral[1]
    return "0" if name == "-0" else name


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Return whether a cell is a whole number of any type except a boolean."""
    if _is_bool(value):
        return False
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())


def are_positions(cells: Iterable[object], labels: Sequence[str]) -> bool:
    """Return whether the cells of a column are positions in the given list of names.

    They are if every cell that is not empty is a whole number and no name is one. Otherwise all
    cells are names.
    """
    if any(NUMERAL.fullmatch(name) for name in labels):
        return False
    held = [cell for cell in cells if not _is_empty(cell)]
    return bool(held) and all(
        _is_number(cell) or (isinstance(cell, str) and NUMERAL.fullmatch(cell)) for cell in held
    )


def _is_empty(cell: object) -> bool:
    blank = isinstance(cell, str) and not cell.strip()
    return cell is None or blank or (isinstance(cell, float) and math.isnan(cell))


class LabelIds:
    """Converter from cells to label ids.

    A cell must contain a name, in the notation of `spelled`, unless `positions` is set for the
    whole column. A number alone is never treated as a position.

    Args:
        labels: Names in the order of their ids.
        kind: `label` or `tag`, for messages.
        positions: Whether the cells are positions in `labels` (see `are_positions`).
    """

    def __init__(
        self, labels: Sequence[str], *, kind: str = "label", positions: bool = False
    ) -> None:
        self.kind = kind
        self.positions = positions
        self.ids = {name: position for position, name in enumerate(labels)}
        self.spelled = {spelled(name): position for position, name in enumerate(labels)}

    def __call__(self, value: object) -> int:
        """Return the id of a cell; raise BadRowError if it is not a label."""
        if isinstance(value, str) and value in self.ids:
            return self.ids[value]
        try:
            name = spelled(value)
        except ValueError as error:
            found = f"{shown(value)} where a name or a number of a {self.kind} is expected"
            if _is_empty(value) and self.kind == "label":
                found += "; missing_labels=skip omits rows without a label"
            elif isinstance(value, (float, Decimal)):
                found += "; write labels as text or whole numbers"
            raise BadRowError("wrong type", found) from error
        if self.positions and NUMERAL.fullmatch(name):
            return self._numbered(name)
        for known in (name, name.lower()) if _is_bool(value) else (name,):
            if known in self.spelled:
                return self.spelled[known]
        found = f"{shown(value)} is none of the {len(self.ids)} {self.kind}s"
        if NUMERAL.fullmatch(name) and name.startswith("-"):
            found += "; a negative number is a label only if it is among the labels given"
            raise BadRowError(f"unknown {self.kind}", found)
        if NUMERAL.fullmatch(name):
            found += "; numbers are positions only if the whole column is numbers and no label is"
        raise BadRowError(f"unknown {self.kind}", found, name=name, options=self.ids)

    def _numbered(self, name: str) -> int:
        # Check the length first, since int() refuses numerals of thousands of digits.
        if len(name) > len(str(len(self.ids))) or not 0 <= int(name) < len(self.ids):
            found = (
                f"{shown(name, quoted=False)}; the {len(self.ids)} {self.kind}s are numbered "
                f"0 to {len(self.ids) - 1}"
            )
            raise BadRowError(f"{self.kind} out of range", found)
        return int(name)
