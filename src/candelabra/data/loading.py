"""Loading of a task: read its source, validate the rows and make the splits."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from candelabra.data.bio import OUTSIDE
from candelabra.data.file_source import Files
from candelabra.data.files.layout import Layout
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import NO_LABEL, OnBadRow, OnMissing, to_examples
from candelabra.data.rows.labels import LABELLED, infer_labels, read_labels
from candelabra.data.rows.lists import with_lists
from candelabra.data.rows.shapes import LEARNT
from candelabra.data.rows.splits import carve, strata_of
from candelabra.data.rows.tag_schemes import with_bio
from candelabra.data.sources import SPLITS, Source
from candelabra.data.unlabelled import read_unlabelled, unlabelled_examples
from candelabra.errors import DataError, MissingSplitError
from candelabra.processes import rank
from candelabra.records import Examples


@dataclass(frozen=True)
class TaskData:
    """The validated examples of one task.

    Attributes:
        splits: Examples of `train`, `validation` and, if the source has one, `test`.
        labels: Label names in the order of their ids; empty for a task that predicts numbers.
        skipped: Number of skipped rows by split and validation rule, of the splits that were read.
        fingerprint: SHA-256 of the examples and label names of each split.
        missing_labels: Number of rows without a label in each split that was read; they are not
            among the examples.
        teacher_only: Number of unlabelled rows at the end of `train`, which only the answers of a
            teacher make use of.
    """

    splits: dict[str, Examples]
    labels: list[str]
    skipped: dict[str, dict[str, int]]
    fingerprint: dict[str, str]
    missing_labels: dict[str, int] = field(default_factory=dict)
    teacher_only: int = 0

    @property
    def counts(self) -> list[int]:
        """Count the examples (for tags, the words) of the train split that have each label."""
        train = self.splits["train"]
        if isinstance(train.labels[0], list) and train.words is None:
            # Multi-label rows have one 0/1 entry for each label.
            return [column.count(1) for column in zip(*train.labels, strict=True)]
        rows = (label if isinstance(label, list) else [label] for label in train.labels)
        counter = Counter(chain.from_iterable(rows))
        return [counter[position] for position in range(len(self.labels))]


def load_task(
    name: str,
    *,
    source: Source,
    columns: Mapping[str, str],
    labels: Sequence[str] | str | Path | None = None,
    limit: Mapping[str, int | None] | None = None,
    validation: float | int = 0.1,
    split_seed: int = 42,
    on_bad_row: OnBadRow = "error",
    missing_labels: OnMissing = "error",
    score_range: Sequence[float] = (0.0, 1.0),
    unlabelled: str | None = None,
    only: str | None = None,
    inferred: bool = False,
) -> TaskData:
    """Read the rows of a task, validate them and make the splits.

    If the source has no validation split, it is separated from the train split first; then the
    limits apply. All draws are seeded and stratified by label.

    Args:
        name: Name of the task, for error messages.
        source: Source of the rows.
        columns: Column name of each role; see `to_examples`.
        labels: Label names, or the path of a JSON list of them; `None` infers them from the train
            split.
        limit: Maximum number of examples of each split.
        validation: Size of the validation split if it is separated from train: a fraction of the
            rows, or a count.
        split_seed: Seed of the draws.
        on_bad_row: `error` raises for an invalid row, `skip` drops it.
        missing_labels: `error` raises for a row without a label, `skip` drops it, for files whose
            rows belong to several tasks.
        score_range: Lowest and highest score of pairs, which are scaled to 0 and 1.
        unlabelled: File of more texts, which are appended to the train split without labels.
        only: Name of a single split to load; others are read only if it depends on them, and
            `unlabelled` is not read.
        inferred: Whether the given labels come from a bundle whose run inferred them; numbers in
            the label column are then names and never positions.

    Returns:
        The examples of the splits, with label names and statistics.

    Raises:
        DataError: A file, a row or a setting is invalid, or a split is empty.
    """
    try:
        unnamed = labels is None and bool(set(LABELLED) & set(columns))
        tables = _tables(source, columns, only, inferred=unnamed)
        _report_notes(name, tables)
        names = _names(labels, columns, tables)
        check = partial(
            to_examples,
            columns=columns,
            labels=names,
            on_bad_row=on_bad_row,
            missing_labels=missing_labels,
            score_range=score_range,
            named=inferred or unnamed,
        )
        splits, skipped = _checked(tables, check)
        if unnamed and "tags" in columns and names == [OUTSIDE]:
            where, column = tables["train"].where, columns["tags"]
            raise DataError(f"{where}: column {column!r} must have an entity, found 'O' alone")
        if "validation" not in splits and only != "test":
            splits = _with_validation(splits, names, part=validation, seed=split_seed)
        limits = {split: size for split, size in (limit or {}).items() if only in (None, split)}
        splits = _limited(splits, names, limit=limits, seed=split_seed)
        num_extra = 0
        if unlabelled is not None and only is None:
            layout = source.layout if isinstance(source, Files) else Layout()
            more = read_unlabelled(unlabelled, layout)
            _report_notes(name, {"unlabelled": more})
            extra, skipped["unlabelled"] = unlabelled_examples(
                more,
                columns=columns,
                labels=names,
                first_row=len(tables["train"]),
                on_bad_row=on_bad_row,
            )
            splits["train"], num_extra = splits["train"].followed_by(extra), len(extra)
    except DataError as error:
        raise type(error)(f"task {name!r}: {error}") from error
    kept = splits if only is None else {only: splits[only]}
    return replace(_task_data(kept, names, skipped), teacher_only=num_extra)


def _task_data(
    splits: dict[str, Examples], labels: list[str], skipped: Mapping[str, Mapping[str, int]]
) -> TaskData:
    """Return the data of a task, with rows that only lack a label counted apart."""
    rules = {
        split: {rule: count for rule, count in counts.items() if rule != NO_LABEL}
        for split, counts in skipped.items()
    }
    return TaskData(
        splits,
        labels,
        skipped={split: counts for split, counts in rules.items() if counts},
        fingerprint={split: fingerprint(examples, labels) for split, examples in splits.items()},
        missing_labels={
            split: counts[NO_LABEL] for split, counts in skipped.items() if counts.get(NO_LABEL)
        },
    )


def texts_fingerprint(examples: Examples) -> str:
    """Return the SHA-256 of the texts and their words, ignoring the labels."""
    return fingerprint(replace(examples, labels=[]), ())


def fingerprint(examples: Examples, labels: Sequence[str]) -> str:
    """Return the SHA-256 of texts, labels, words and label names in the order of the rows."""
    digest = hashlib.sha256()
    for part in (list(labels), examples.labels, examples.words, *examples.texts):
        # JSON marks the end of each value, so that ["ab", "c"] and ["a", "bc"] differ.
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def _report_notes(task: str, tables: Mapping[str, Table]) -> None:
    """Print how files were read where that is not plain, in the first process alone."""
    for table in tables.values():
        if table.note and rank() == 0:
            print(f"task {task!r}: {table.where}: {table.note}", file=sys.stderr)


def _names(
    labels: Sequence[str] | str | Path | None,
    columns: Mapping[str, str],
    tables: Mapping[str, Table],
) -> list[str]:
    if not set(LABELLED) & set(columns):
        if labels:
            raise DataError(f"{', '.join(columns)} have no labels, found labels {labels}")
        return []
    return infer_labels(tables["train"], columns) if labels is None else read_labels(labels)


def _tables(
    source: Source, columns: Mapping[str, str], only: str | None, *, inferred: bool
) -> dict[str, Table]:
    """Read the tables of the splits, with lists written as text as lists, and tags as BIO."""
    if not set(columns) & set(LEARNT):
        raise DataError(f"columns must name {' or '.join(LEARNT)}, found {', '.join(columns)}")
    read = _read(source, only, inferred=inferred)
    return {split: with_bio(with_lists(table, columns), columns) for split, table in read.items()}


def _read(source: Source, only: str | None, *, inferred: bool) -> dict[str, Table]:
    # Either of the two needs both, because validation may be separated from train.
    names = SPLITS if only is None else ("test",) if only == "test" else ("train", "validation")
    if inferred and "train" not in names:
        names = ("train", *names)
    tables = {split: table for split in names if (table := source.read(split)) is not None}
    needed = "test" if only == "test" else "train"
    if needed not in tables:
        raise MissingSplitError(f"the source has no {needed} split")
    return tables


def _checked(
    tables: Mapping[str, Table], check: Callable[..., tuple[Examples, dict[str, int]]]
) -> tuple[dict[str, Examples], dict[str, dict[str, int]]]:
    splits, skipped = {}, {}
    for split, table in tables.items():
        examples, counts = check(table)
        if len(examples) == 0:
            rules = ", ".join(f"{rule} {count}" for rule, count in counts.items())
            raise DataError(
                f"{table.where}: split {split!r} is empty: {len(table)} rows read, "
                f"skipped: {rules or 'none'}"
            )
        splits[split] = examples
        if counts:
            skipped[split] = counts
    return splits, skipped


def _with_validation(
    splits: Mapping[str, Examples], labels: Sequence[str], *, part: float | int, seed: int
) -> dict[str, Examples]:
    train = splits["train"]
    is_number = isinstance(part, (int, float)) and not isinstance(part, bool)
    size = (round(part * len(train)) if isinstance(part, float) else part) if is_number else 0
    if not 0 < size < len(train):
        raise DataError(_no_validation(part, size, num_rows=len(train)))
    rest, drawn = carve(strata_of(train, labels), size, seed)
    return {**splits, "train": train.take(rest), "validation": train.take(drawn)}


def _no_validation(part: object, size: int, *, num_rows: int) -> str:
    of_train = f"validation={part} of {num_rows} train row{'s' if num_rows != 1 else ''}"
    if num_rows < 2:
        return f"{of_train}: there must be at least 2 rows, one to learn from and one to hold out"
    if size == 0 and isinstance(part, float) and part > 0:
        return (
            f"{of_train} would be 0 rows; from 1 to {num_rows - 1} rows can be held out, for "
            "instance by validation=1"
        )
    return (
        f"{of_train} leaves an empty split; it must be a fraction between 0 and 1, or a count from "
        f"1 to {num_rows - 1} rows"
    )


def _limited(
    splits: Mapping[str, Examples],
    labels: Sequence[str],
    *,
    limit: Mapping[str, int | None],
    seed: int,
) -> dict[str, Examples]:
    for split, size in limit.items():
        if size is not None and split not in splits:
            raise DataError(f"limit.{split}: no such split; there are {', '.join(splits)}")
        if size is not None and (not isinstance(size, int) or size < 1):
            raise DataError(f"limit.{split} must be a count of examples, found {size!r}")
    limited = {}
    for split in sorted(splits, key=SPLITS.index):
        examples = splits[split]
        size = limit.get(split)
        if size is not None and size < len(examples):
            examples = examples.take(carve(strata_of(examples, labels), size, seed)[1])
        limited[split] = examples
    return limited
