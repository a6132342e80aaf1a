"""Cells that hold several labels of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from candelabra.data.files.table import BadRowError, shown
from candelabra.data.rows.labels import LabelIds
from candelabra.errors import DataError
from candelabra.records import IGNORED


def check_no_flags(cells: Iterable[object], *, where: str) -> None:
    """Refuse a column whose lists hold 0 or 1 for each label instead of the labels that apply.

    In such a column all lists have the same length and hold nothing but 0 and 1. As lists of
    labels they would say that the same two labels apply to every row.

    Args:
        cells: Column of labels.
        where: File and column, for the message.

    Raises:
        DataError: The column holds flags.
    """
    lists = [cell for cell in cells if isinstance(cell, list)]
    if not lists or len(lists[0]) < 2 or len(set(map(len, lists))) > 1:
        return
    items = [item for cell in lists for item in cell]
    if not all(isinstance(item, (int, float)) and item in (0, 1) for item in items):
        return
    # Lists of labels name each label once; those of one or two labels may all be [0, 1].
    if any(cell != [0, 1] for cell in lists):
        raise DataError(
            f"{where} holds 0 or 1 for each label, such as {shown(lists[0])}; write the labels "
            'that apply, such as ["a"], or a mapping, such as {"a": 1, "b": 0}'
        )


def label_set(value: object, label_id: LabelIds) -> list[int]:
    """Return 1, 0 or `IGNORED` (unknown) for each label of a multi-label cell.

    A list contains the labels that apply; the others do not apply. A mapping contains true or 1,
    false or 0, or null for each label; null and omitted labels are unknown.

    Raises:
        BadRowError: If the cell is neither, names an unknown label, or repeats a label.
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
            raise BadRowError("repeated label", f"{shown(name)} is repeated")
        found[place] = 1
    return found
