"""`Table` -> `Examples`: every row is checked here, and nowhere else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from candelabra.data.bio import OUTSIDE, RULE, is_tag, may_follow, parse_tag
from candelabra.data.cells import Spans, checked_number, checked_text, joined_words
from candelabra.data.labels import LabelIds, label_set
from candelabra.data.table import BadRowError, Table, shown
from candelabra.errors import DataError
from candelabra.records import IGNORED, Examples

OnBadRow = Literal["error", "skip"]
OnMissing = Literal["error", "skip"]
NO_LABEL = "no label"
"""The rule by which rows without a label are counted where they may be left out."""
NO_TAG = "_"
"""What stands for a missing tag in text files, where it is no tag itself."""


class Row(NamedTuple):
    """One checked row: its texts, what is to be learnt, and where its words stand in the text."""

    texts: tuple[str, ...]
    label: int | float | list[int]
    words: Spans | None = None


Parser = Callable[..., Row]
"""The cells of one row, in the order of the shape's roles -> the row; raises BadRowError."""


def to_examples(
    table: Table,
    columns: Mapping[str, str],
    labels: Sequence[str],
    on_bad_row: OnBadRow = "error",
    missing_labels: OnMissing = "error",
) -> tuple[Examples, dict[str, int]]:
    """Checks every row of a split.

    Args:
        table: The rows as read.
        columns: Role -> column: `{text, label}` for single texts, `{text, labels}` where several
            labels may hold, `{text, number}` for a number, `{words, tags}` for pre-split words.
            Without any of these the labels are all `IGNORED`.
        labels: The names of the labels or tags.
        on_bad_row: `error` refuses the split if a row is bad, `skip` drops and counts such rows.
        missing_labels: A row whose label cell is empty is bad by `error`; `skip` drops and counts
            it as `NO_LABEL`, whatever `on_bad_row` says, and makes a single word's missing tag
            (null, or `_` where that is no tag) `IGNORED`.

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
    roles = _roles(columns)
    partial = missing_labels == "skip" and roles[-1] in LEARNT
    parse = SHAPES[roles](labels, partial)
    cells = [table.column(columns[role], role=role) for role in roles]
    absent = {row for row, cell in enumerate(cells[-1]) if partial and _missing(cell, labels)}
    absent -= set(table.faults)
    good, faults = _parsed(table, parse, cells, leave_out=absent)
    counts = dict(Counter(fault.rule for fault in faults.values()).most_common())
    if faults and on_bad_row == "error":
        raise DataError(_complaint(table, faults, counts, learnt=roles[-1] in LEARNT))
    if absent:
        counts[NO_LABEL] = len(absent)
    return _gather(list(good.values()), list(good)), counts


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
        return bool(cell) and all(_no_tag(item, labels) for item in cell)
    blank = isinstance(cell, str) and not cell.strip()
    return cell is None or blank or (isinstance(cell, float) and math.isnan(cell))


def _roles(columns: Mapping[str, str]) -> tuple[str, ...]:
    for roles in SHAPES:
        if set(roles) == set(columns):
            return roles
    shapes = " or ".join("{" + ", ".join(roles) + "}" for roles in SHAPES)
    raise DataError(f"columns must name {shapes}, found {{{', '.join(columns)}}}")


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


def _single_text(labels: Sequence[str], _: bool) -> Parser:
    label_id = LabelIds(labels)
    return lambda text, label: Row((checked_text(text),), label_id(label))


def _several_labels(labels: Sequence[str], _: bool) -> Parser:
    label_id = LabelIds(labels)
    return lambda text, names: Row((checked_text(text),), label_set(names, label_id))


def _number(_: Sequence[str], __: bool) -> Parser:
    return lambda text, number: Row((checked_text(text),), checked_number(number))


def _unlabelled_text(_: Sequence[str], __: bool) -> Parser:
    return lambda text: Row((checked_text(text),), IGNORED)


def _tagged_words(labels: Sequence[str], partial: bool) -> Parser:
    tag_id = LabelIds(labels, kind="tag")
    stray = _stray_steps(labels)

    def parse(words: object, tags: object) -> Row:
        text, spans = joined_words(words)
        if not isinstance(tags, list):
            raise BadRowError("wrong type", f"tags must be a list, found {shown(tags)}")
        if len(tags) != len(spans):
            raise BadRowError("unequal lengths", f"{len(spans)} words, {len(tags)} tags")
        ids = [
            IGNORED
            if partial and _no_tag(tag, labels)
            else _tag(tag_id, tag, place=place, words=words)
            for place, tag in enumerate(tags)
        ]
        for place, (before, tag) in enumerate(zip([None, *ids], ids, strict=False)):
            # Behind a word without a tag any tag may stand.
            if (before, tag) in stray:
                follows = "nothing" if before is None else repr(labels[before])
                found = f"{labels[tag]!r} of word {place} follows {follows}"
                raise BadRowError("stray I- tag", found)
        return Row((text,), ids, spans)

    return parse


def _unlabelled_words(_: Sequence[str], __: bool) -> Parser:
    def parse(words: object) -> Row:
        text, spans = joined_words(words)
        return Row((text,), [IGNORED] * len(spans), spans)

    return parse


def _no_tag(tag: object, labels: Sequence[str]) -> bool:
    return tag is None or (tag == NO_TAG and NO_TAG not in labels)


def _tag(tag_id: LabelIds, tag: object, *, place: int, words: Any) -> int:
    try:
        return tag_id(tag)
    except BadRowError as fault:
        word = f"(word {place}, {shown(words[place])})"
        if isinstance(tag, str) and fault.name and not is_tag(tag):
            raise BadRowError("no BIO tag", f"{shown(tag)} {word}; {RULE}") from fault
        fault.found += f" {word}"
        raise


def _stray_steps(labels: Sequence[str]) -> set[tuple[int | None, int]]:
    """Which tag may not follow which other, or nothing."""
    try:
        tags = [parse_tag(label) for label in labels]
    except ValueError as error:
        raise DataError(f"labels: {error}") from error
    befores: list[tuple[int | None, tuple[str, str]]] = [(None, parse_tag(OUTSIDE))]
    befores += enumerate(tags)
    return {
        (i, j) for i, before in befores for j, tag in enumerate(tags) if not may_follow(before, tag)
    }


SHAPES: dict[tuple[str, ...], Callable[[Sequence[str], bool], Parser]] = {
    ("text", "label"): _single_text,
    ("words", "tags"): _tagged_words,
    ("text", "labels"): _several_labels,
    ("text", "number"): _number,
    ("text",): _unlabelled_text,
    ("words",): _unlabelled_words,
}
"""Roles of a shape's columns, in the order its parser takes them; what is learnt comes last.

Its value makes the parser, of the label names and of whether single labels may miss.
"""

LEARNT = ("label", "tags", "labels", "number")
"""Roles of columns that hold what is to be learnt."""
