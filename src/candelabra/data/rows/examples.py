"""Convert a `Table` to `Examples`; this is the only place that checks rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from candelabra.data.files.table import BadRowError, Table
from candelabra.data.garbage import no_collection
from candelabra.data.rows.label_sets import check_no_flags
from candelabra.data.rows.labels import LABELLED, are_positions, single_cells
from candelabra.data.rows.shapes import LEARNT, SHAPES, Parser, Row, Rules, no_tag, shape_of
from candelabra.errors import DataError
from candelabra.records import Examples

OnBadRow = Literal["error", "skip"]
OnMissing = Literal["error", "skip"]
NO_LABEL = "no label"
"""Name under which skipped rows without a label are counted."""


@no_collection()
def to_examples(
    table: Table,
    columns: Mapping[str, str],
    labels: Sequence[str],
    on_bad_row: OnBadRow = "error",
    missing_labels: OnMissing = "error",
    *,
    score_range: Sequence[float] = (0.0, 1.0),
    named: bool = False,
    skippable: bool = True,
) -> tuple[Examples, dict[str, int]]:
    """Check every row of a split, and convert the rows to examples.

    Args:
        table: Rows as read.
        columns: Role -> column name. The roles are `{text, label}` for single texts, `{text,
            labels}` for several labels per text, `{text, number}` for a number, and `{words, tags}`
            for pre-split words. For pairs they are `{sentence1, sentence2}` with `score` or
            `label`, or `{anchor, positive}`, and for triplets `{anchor, positive, negative}`. With
            `{text}`, `{words}` or `{sentence1, sentence2}` alone all labels are `IGNORED`.
        labels: Names of the labels or tags.
        on_bad_row: `error` raises an error if a row is bad; `skip` drops and counts such rows.
        missing_labels: `error` treats a row with an empty label cell as bad. `skip` drops it and
            counts it as `NO_LABEL`, regardless of `on_bad_row`. It also sets the missing tag of a
            single word (null, or `_` if that is not a tag) to `IGNORED`.
        score_range: Lowest and highest `score`, which are mapped to 0 and 1.
        named: Whether the labels were inferred from names in a column. Then the cells of `label`,
            `labels` and `tags` are never positions.
        skippable: Whether the message about bad rows may advise to skip them; `False` if every row
            needs a prediction.

    Returns:
        The valid rows, and the number of skipped rows for each rule.

    Raises:
        DataError: If the columns have no known shape, a column is missing, or a row is bad. The
            message names the file, the row and the rule of the first bad row, and counts all.
    """
    _check_choice("on_bad_row", on_bad_row)
    _check_choice("missing_labels", missing_labels)
    roles = shape_of(columns)
    partial = missing_labels == "skip" and roles[-1] in LEARNT
    cells = [table.column(columns[role], role=role) for role in roles]
    if roles[-1] == "labels":
        check_no_flags(cells[-1], where=f"{table.where}: column {columns['labels']!r}")
    positions = roles[-1] in LABELLED and not named and _positions(cells[-1], roles[-1], labels)
    parse = SHAPES[roles](Rules(labels, partial, _checked_range(score_range), positions))
    absent = {row for row, cell in enumerate(cells[-1]) if partial and _missing(cell, labels)}
    absent -= set(table.faults)
    good, faults = _parsed(table, parse, cells, leave_out=absent)
    counts = dict(Counter(fault.rule for fault in faults.values()).most_common())
    if faults and on_bad_row == "error":
        raise DataError(_complaint(table, faults, counts, skippable=skippable))
    if absent:
        counts[NO_LABEL] = len(absent)
    return _gather(list(good.values()), list(good)), counts


def _check_choice(setting: str, value: str) -> None:
    if value not in ("error", "skip"):
        raise DataError(f"{setting} must be error or skip, found {value!r}")


def _checked_range(given: Sequence[float]) -> tuple[float, float]:
    numbers = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in given)
    if not numbers or len(given) != 2 or not given[0] < given[1]:
        raise DataError(f"score_range must be the lowest and the highest score, found {given}")
    return given[0], given[1]


def _positions(cells: Sequence[object], role: str, labels: Sequence[str]) -> bool:
    held = single_cells(cells, listed=role != "label")
    # Ignore words without a tag, which are neither names nor positions.
    return are_positions((cell for cell in held if not no_tag(cell, labels)), labels)


def _parsed(
    table: Table, parse: Parser, cells: Sequence[list[Any]], *, leave_out: set[int]
) -> tuple[dict[int, Row], dict[int, BadRowError]]:
    """Return the valid rows and the errors of the other rows, by their index in the table."""
    good, faults = {}, {}
    for row, values in enumerate(zip(*cells, strict=True)):
        if row in leave_out:
            continue
        try:
            if row in table.faults:
                raise table.faults[row]
            good[row] = parse(*values)
        except BadRowError as fault:
            faults[row] = fault
    return good, faults


def _missing(cell: object, labels: Sequence[str]) -> bool:
    """Return whether a cell has no label: null, NaN, blank, or a list of missing tags."""
    if isinstance(cell, list):
        return bool(cell) and all(no_tag(item, labels) for item in cell)
    blank = isinstance(cell, str) and not cell.strip()
    return cell is None or blank or (isinstance(cell, float) and math.isnan(cell))


def _complaint(
    table: Table, faults: Mapping[int, BadRowError], counts: Mapping[str, int], *, skippable: bool
) -> str:
    first = min(faults)
    message = f"{table.where}, {table.locate(first)}: {faults[first]}"
    by_rule = ", ".join(f"{rule} {count}" for rule, count in counts.items())
    way_out = "on_bad_row=skip drops and counts them"
    if not skippable:
        way_out = "every row needs a prediction"
    elif len(faults) == len(table):
        way_out = "no row could be read, so the columns or the format may be others"
    return f"{message}. Bad rows: {len(faults)} of {len(table)} ({by_rule}); {way_out}"


def _gather(good: Sequence[Row], rows: list[int]) -> Examples:
    texts, labels, words = zip(*good, strict=True) if good else ((), (), ())
    tagged = bool(words) and words[0] is not None
    return Examples(
        texts=tuple(map(list, zip(*texts, strict=True))),
        labels=list(labels),
        words=list(words) if tagged else None,
        rows=rows,
    )
