"""Texts of a task without labels, from which a model learns by the answers of a teacher alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from candelabra.data.files.layout import Layout
from candelabra.data.files.readers import check_path, read_tables
from candelabra.data.files.several import matching
from candelabra.data.files.table import Table
from candelabra.data.rows.examples import OnBadRow, to_examples
from candelabra.data.rows.lists import with_lists
from candelabra.data.rows.shapes import TARGETS
from candelabra.errors import DataError
from candelabra.records import IGNORED, Examples


def check_unlabelled(file: str, *, key: str) -> None:
    """Check that a file of unlabelled texts exists and has a known extension.

    Args:
        file: Path of the file, or a pattern.
        key: Key of the configuration that names it.

    Raises:
        DataError: The file is missing, or its extension is unknown.
    """
    try:
        for path in matching(Path(file).expanduser()):
            check_path(path)
    except DataError as error:
        raise DataError(f"{key}: {error}") from error


def read_unlabelled(file: str, layout: Layout) -> Table:
    """Read a file of unlabelled texts.

    Args:
        file: Path of the file, or a pattern.
        layout: Format options of the task's own files, which hold for this one too.

    Raises:
        DataError: The file cannot be read.
    """
    # The sub-folders of the task's own folder are its labels.
    return read_tables([Path(file).expanduser()], replace(layout, subfolders=None), file)


def unlabelled_examples(
    table: Table,
    *,
    columns: Mapping[str, str],
    labels: Sequence[str],
    first_row: int,
    on_bad_row: OnBadRow,
) -> tuple[Examples, dict[str, int]]:
    """Return the rows of a file as examples of a task whose labels are missing.

    Args:
        table: Rows of the file. Its column of labels is not read, if it has one.
        columns: Column name of each role; the texts have the same columns as in the train split.
        labels: Names of the labels or tags.
        first_row: Number of the file's first row among the rows of the task.
        on_bad_row: `error` raises for an invalid row, `skip` drops it.

    Returns:
        The examples, and the number of skipped rows for each rule.

    Raises:
        DataError: The file has no column of texts, or a row is invalid.
    """
    texts = {role: column for role, column in columns.items() if role not in TARGETS}
    table = with_lists(table, texts)
    found, counts = to_examples(table, texts, labels, on_bad_row)
    if not len(found):
        rules = ", ".join(f"{rule} {count}" for rule, count in counts.items())
        raise DataError(f"{table.where}: no row is left of {len(table)}, skipped: {rules}")
    missing: Any = None
    if "labels" in columns:
        missing = [IGNORED] * len(labels)
    elif {"number", "score"} & set(columns):
        missing = math.nan
    unknown = found.labels if missing is None else [missing] * len(found)
    rows = [first_row + row for row in found.rows]
    return replace(found, labels=unknown, rows=rows), counts
