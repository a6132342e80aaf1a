"""Label names: given, read from a file, or inferred; and a cell of a file -> its label id."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from candelabra.data.bio import is_tag, parse_tag, tag_names
from candelabra.data.table import BadRowError, Table, shown
from candelabra.errors import DataError
from candelabra.records import IGNORED

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
        if name in checked:
            raise DataError(f"{where}: {name!r} stands twice")
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
        only one was seen, and none of what is no BIO tag; for integers, "0" up to the largest.

    Raises:
        DataError: The column is missing, or does not look like labels.
    """
    role = next((role for role in ("label", "labels", "tags") if role in columns), None)
    if role is None:
        raise DataError(f"no labels to infer: columns name no label and no tags, only {columns}")
    values = table.column(columns[role], role=role)
    if role != "label":
        # Of a mapping, that is of its keys.
        values = [name for names in values if isinstance(names, (list, dict)) for name in names]
    where = f"{table.where}: labels cannot be inferred from column {columns[role]!r}"
    names = {value for value in values if isinstance(value, str) and value.strip()}
    ids = {value for value in values if isinstance(value, int) and not isinstance(value, bool)}
    if bool(names) == bool(ids):
        found = "names and numbers mixed" if names else "neither names nor numbers"
        raise DataError(f"{where}: found {found}; give labels")
    if role == "tags" and ids:
        raise DataError(f"{where}: tags are numbers; give labels, so that B- and I- are known")
    if len(names) > MAX_INFERRED or max(ids, default=0) >= MAX_INFERRED:
        raise DataError(f"{where}: more than {MAX_INFERRED} of them; give labels")
    if ids:
        return [str(number) for number in range(max(0, *ids) + 1)]
    if role == "tags":
        return tag_names({parse_tag(name)[1] for name in names if is_tag(name)} - {""})
    return sorted(names)


class LabelIds:
    """Turns a cell into a label id.

    Text is a name. An integer is a position in `labels`, unless all names are numerals: then it
    is a name too, so that ratings 1 to 5 are not read as positions 1 to 5. A numeral that is no
    name is an integer: csv and CoNLL files hold nothing but text.

    Args:
        labels: The names, in the order of their ids.
        kind: `label` or `tag`, for messages.
    """

    def __init__(self, labels: Sequence[str], *, kind: str = "label") -> None:
        self.kind = kind
        self.ids = {name: position for position, name in enumerate(labels)}
        self.by_number = all(name.isdecimal() for name in labels)

    def __call__(self, value: object) -> int:
        """The id of a cell; raises BadRowError for one that is no label."""
        is_bool = isinstance(value, bool)
        if isinstance(value, Integral) and not is_bool:
            return self._numbered(int(value))
        if not isinstance(value, str):
            found = f"{shown(value)} where a name or a number of a {self.kind} is expected"
            if value is None and self.kind == "label":
                found += "; missing_labels=skip leaves rows without one out"
            raise BadRowError("wrong type", found)
        if value not in self.ids and value.isdecimal():
            return self._numbered(int(value))
        if value not in self.ids:
            found = f"{shown(value)} is none of the {len(self.ids)} {self.kind}s"
            raise BadRowError(f"unknown {self.kind}", found, name=value, options=self.ids)
        return self.ids[value]

    def _numbered(self, value: int) -> int:
        if self.by_number and str(value) in self.ids:
            return self.ids[str(value)]
        if self.by_number or not 0 <= value < len(self.ids):
            first, *_, last = self.ids if self.by_number else (0, len(self.ids) - 1)
            found = f"{value}; the {len(self.ids)} {self.kind}s are numbered {first} to {last}"
            raise BadRowError(f"{self.kind} out of range", found)
        return value


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
