"""`Table` -> `Examples`: every row is checked here, and nowhere else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from candelabra.data.files.table import BadRowError, Table
from candelabra.data.rows.labels import LABELLED, are_positions, single_cells
from candelabra.data.rows.shapes import LEARNT, SHAPES, Parser, Row, Rules, no_tag, shape_of
from candelabra.errors import DataError
from candelabra.records import Examples

OnBadRow = Literal["error", "skip"]
OnMissing = Literal["error", "skip"]
NO_LABEL = "no label"
"""The rule by which rows without a label are counted where they may be left out."""


def to_examples(
    table: Table,
    columns: Mapping[str, str],
    labels: Sequence[str],
    on_bad_row: OnBadRow = "error",
    missing_labels: OnMissing = "error",
    *,
    score_range: Sequence[float] = (0.0, 1.0),
    named: bool = False,
) -> tuple[Examples, dict[str, int]]:
    """Checks every row of a split.

    Args:
        table: The rows as read.
        columns: Role -> column: `{text, label}` for single texts, `{text, labels}` where several
            labels may hold, `{text, number}` for a number, `{words, tags}` for pre-split words;
            for pairs `{sentence1, sentence2}` with `score` or `label`, or `{anchor, positive}`,
            with a `negative` for triplets. With `{text}` or `{words}` alone the labels are all
            `IGNORED`.
        labels: The names of the labels or tags.
        on_bad_row: `error` refuses the split if a row is bad, `skip` drops and counts such rows.
        missing_labels: A row whose label cell is empty is bad by `error`; `skip` drops and counts
            it as `NO_LABEL`, whatever `on_bad_row` says, and makes a single word's missing tag
            (null, or `_` where that is no tag) `IGNORED`.
        score_range: The lowest and the highest `score`; they become 0 and 1.
        named: Whether the labels were inferred from names that a column holds; then none of
            `label`, `labels` and `tags` is read as a position.

    Returns:
        The good rows, and the number of skipped rows for each rule.

    Raises:
        DataError: The columns fit no shape, a column is missing, or a row is bad; the message
            gives file, row and rule of the first bad row, and counts them all.
    """
    if on_bad_row not in ("error", "skip"):
        raise DataError(f"on_bad_row must be error or skip, found {on_bad_row!r}")
    if missing_labels not in ("error", "skip"):
        raise DataError(f"missing_labels must be error or skip, found {missing_labels!r}")
    roles = shape_of(columns)
    partial = missing_labels == "skip" and roles[-1] in LEARNT
    cells = [table.column(columns[role], role=role) for role in roles]
    positions = roles[-1] in LABELLED and not named and _positions(cells[-1], roles[-1], labels)
    parse = SHAPES[roles](Rules(labels, partial, _checked_range(score_range), positions))
    absent = {row for row, cell in enumerate(cells[-1]) if partial and _missing(cell, labels)}
    absent -= set(table.faults)
    good, faults = _parsed(table, parse, cells, leave_out=absent)
    counts = dict(Counter(fault.rule for fault in faults.values()).most_common())
    if faults and on_bad_row == "error":
        raise DataError(_complaint(table, faults, counts, learnt=roles[-1] in LEARNT))
    if absent:
        counts[NO_LABEL] = len(absent)
    return _gather(list(good.values()), list(good)), counts


def _checked_range(given: Sequence[float]) -> tuple[float, float]:
    numbers = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in given)
    if not numbers or len(given) != 2 or not given[0] < given[1]:
        raise DataError(f"score_range must be the lowest and the highest score, found {given}")
    return given[0], given[1]


def _positions(cells: Sequence[object], role: str, labels: Sequence[str]) -> bool:
    held = single_cells(cells, listed=role != "label")
    # A word without a tag does not tell how the others are written.
    return are_positions((cell for cell in held if not no_tag(cell, labels)), labels)


def _parsed(
    table: Table, parse: Parser, cells: Sequence[list[Any]], *, leave_out: set[int]
) -> tuple[dict[int, Row], dict[int, BadRowError]]:
    """The good rows, and what is wrong with the others, by their place in the table."""
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
    """Whether a cell holds no label: null, NaN, blank, or a list of tags that all miss."""
    if isinstance(cell, list):
        return bool(cell) and all(no_tag(item, labels) for item in cell)
    blank = isinstance(cell, str) and not cell.strip()
    return cell is None or blank or (isinstance(cell, float) and math.isnan(cell))


def _complaint(
    table: Table, faults: Mapping[int, BadRowError], counts: Mapping[str, int], *, learnt: bool
) -> str:
    first = min(faults)
    message = f"{table.where}, {table.locate(first)}: {faults[first]}"
    by_rule = ", ".join(f"{rule} {count}" for rule, count in counts.items())
    # What is only answered has an answer for each row, and no command has that key.
    way_out = "on_bad_row=skip drops and counts them" if learnt else "every row is to be answered"
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
