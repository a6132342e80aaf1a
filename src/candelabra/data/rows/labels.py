"""Label names: given, read from a file, or inferred; and a cell of a file -> its label id."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from candelabra.data.bio import is_tag, parse_tag, tag_names
from candelabra.data.files.table import BadRowError, Table, shown
from candelabra.data.rows.cells import without_case
from candelabra.errors import DataError
from candelabra.records import IGNORED

LABELLED = ("label", "labels", "tags")
"""Roles of columns that hold labels."""

NUMERAL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
"""A whole number as text. No `01`, `1_000` or digits of other scripts: those are names."""

MAX_INFERRED = 1000
"""More different values than this are no labels, but most likely another column."""


def read_labels(labels: Sequence[str] | str | Path) -> list[str]:
    """The names of a task's labels; the position of a name is its id.

    Args:
        labels: The names, or the path of a JSON file that lists them.

    Raises:
        DataError: The file is missing or broken; or the names are not texts, all different.
    """
    where = "labels"
    names: Any = labels
    if isinstance(labels, (str, Path)):
        where, names = f"labels of {labels}", _json_file(Path(labels))
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        raise DataError(f"{where}: a list of names expected, found {shown(names)}")
    checked: list[str] = []
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{where}: position {position} must be a name, found {shown(name)}; "
                "in yaml, numbers and words like yes and no are names only in quotes"
            )
        if spelled(name) in map(spelled, checked):
            alike = "" if name in checked else f", for {spelled(name)!r} is the same label"
            raise DataError(f"{where}: {name!r} stands twice{alike}")
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
    """The names of the labels that a split shows.

    Args:
        table: The train split.
        columns: The task's columns, with a `label`, `labels` or `tags` among them.

    Returns:
        Names in alphabetical order; for tags O first, then B- and I- of each type, both even if
        only one was seen, and none of what is no BIO tag; for integers, "0" up to the largest;
        for booleans "False" and "True".

    Raises:
        DataError: The column is missing, or does not look like labels.
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
        said = f"{' and '.join(found)} mixed" if found else "neither names nor numbers"
        raise DataError(f"{where}: found {said}; give labels")
    if role == "tags" and not names:
        raise DataError(f"{where}: tags are {found[0]}; give labels, so that B- and I- are known")
    if len(names) > MAX_INFERRED or max(numbers, default=0) >= MAX_INFERRED:
        raise DataError(f"{where}: more than {MAX_INFERRED} of them; give labels")
    _check_spelling(table, values, listed=role != "label", where=where)
    if answers:
        return [str(False), str(True)]
    if numbers:
        return [str(number) for number in range(max(0, *numbers) + 1)]
    if role == "tags":
        return tag_names({parse_tag(name)[1] for name in names if is_tag(name)} - {""})
    return sorted(names)


def _check_spelling(table: Table, values: Sequence[object], *, listed: bool, where: str) -> None:
    """Raise DataError where two names look the same, or one holds a NUL byte."""
    first: dict[str, tuple[str, int]] = {}
    seen: set[str] = set()
    for row, value in enumerate(values):
        for name in single_cells([value], listed=listed):
            if not isinstance(name, str) or name in seen or not name.strip():
                continue
            seen.add(name)
            if "\0" in name:
                raise DataError(f"{where}: {table.locate(row)} has a NUL byte: {shown(name)}")
            other, before = first.setdefault(_looks(name), (spelled(name), row))
            if other != spelled(name):
                raise DataError(
                    f"{where}: {shown(name)} of {table.locate(row)} differs from {shown(other)} of "
                    f"{table.locate(before)} by case, white space or control characters alone; "
                    "mend it, or give labels"
                )


def _looks(name: str) -> str:
    """What is seen of a name, whatever its case."""
    kept = (char for char in without_case(name) if unicodedata.category(char) not in ("Cc", "Cf"))
    return "".join(kept).strip()


def single_cells(values: Iterable[object], *, listed: bool = True) -> Iterator[object]:
    """The labels of a column one by one: those inside of its lists, and the keys of mappings."""
    for value in values:
        if listed and isinstance(value, (list, Mapping)):
            yield from value
        else:
            yield value


def spelled(value: object) -> str:
    """The name that a label cell spells; a whole number is its integer, however it is written.

    pandas writes the integers of a column with a gap as floats: 1, 1.0 and "1.0" are label "1".

    Raises:
        ValueError: The cell is neither text nor a whole number nor a boolean.
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
    """Whether a cell is a whole number of any type, booleans aside."""
    if _is_bool(value):
        return False
    return isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())


def are_positions(cells: Iterable[object], labels: Sequence[str]) -> bool:
    """Whether a column's cells are positions in the list of names that a person gave.

    They are if every cell that is not empty is a whole number, and no name is one: a column that
    spells a single name, or names that are numerals, are read by name throughout.
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
    """Turns a cell into a label id.

    A cell is read by its name, as `spelled` says, or refused. It is a position in `labels` only
    where `positions` says so of its whole column: a numeral alone never makes it one.

    Args:
        labels: The names, in the order of their ids.
        kind: `label` or `tag`, for messages.
        positions: Whether the cells are positions, see `are_positions`.
    """

    def __init__(
        self, labels: Sequence[str], *, kind: str = "label", positions: bool = False
    ) -> None:
        self.kind = kind
        self.positions = positions
        self.ids = {name: position for position, name in enumerate(labels)}
        self.spelled = {spelled(name): position for position, name in enumerate(labels)}

    def __call__(self, value: object) -> int:
        """The id of a cell; raises BadRowError for one that is no label."""
        if isinstance(value, str) and value in self.ids:
            return self.ids[value]
        try:
            name = spelled(value)
        except ValueError as error:
            found = f"{shown(value)} where a name or a number of a {self.kind} is expected"
            if value is None and self.kind == "label":
                found += "; missing_labels=skip leaves rows without one out"
            raise BadRowError("wrong type", found) from error
        if self.positions and NUMERAL.fullmatch(name):
            return self._numbered(name)
        for known in (name, name.lower()) if _is_bool(value) else (name,):
            if known in self.spelled:
                return self.spelled[known]
        found = f"{shown(value)} is none of the {len(self.ids)} {self.kind}s"
        if NUMERAL.fullmatch(name):
            found += "; numbers are positions only where all of the column are, and labels names"
        raise BadRowError(f"unknown {self.kind}", found, name=name, options=self.ids)

    def _numbered(self, name: str) -> int:
        # By length first: int() refuses numerals of thousands of digits.
        if len(name) > len(str(len(self.ids))) or not 0 <= int(name) < len(self.ids):
            found = (
                f"{shown(name, quoted=False)}; the {len(self.ids)} {self.kind}s are numbered "
                f"0 to {len(self.ids) - 1}"
            )
            raise BadRowError(f"{self.kind} out of range", found)
        return int(name)


def label_set(value: object, label_id: LabelIds) -> list[int]:
    """A cell that may hold several labels -> for each label 1, 0, or `IGNORED` where not known.

    A list names the labels that hold; all others do not. A mapping says of each label whether it
    holds (true or 1, false or 0); what is null or left out is not known.

    Raises:
        BadRowError: It is neither, names no label of the task, or names one twice.
    """
    if isinstance(value, Mapping):
        found = [IGNORED] * len(label_id.ids)
        for name, holds in value.items():
            place = label_id(name)
            if holds is not None and holds not in (0, 1):
                raise BadRowError("wrong type", f"{shown(holds)} for {name!r}; true, false or null")
            found[place] = IGNORED if holds is None else int(holds)
        return found
    if not isinstance(value, list):
        raise BadRowError("wrong type", f"a list of labels expected, found {shown(value)}")
    found = [0] * len(label_id.ids)
    for name in value:
        place = label_id(name)
        if found[place]:
            raise BadRowError("repeated label", f"{shown(name)} stands twice")
        found[place] = 1
    return found
