"""Several files as one table: a list, a pattern, a folder of shards, a saved data set."""

from __future__ import annotations

import glob
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from candelabra.data.files.layout import Layout
from candelabra.data.files.parquet import read_parquet
from candelabra.data.files.table import Table
from candelabra.errors import DataError

SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev)(?=[-_.]|$)")
DISK = ("state.json", "dataset_info.json")
"""Files of a data set that `datasets.save_to_disk` wrote."""


class JoinedColumns(Mapping[str, list[Any]]):
    """Columns of several tables, one below the other, each joined when it is first used."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._joined: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        """Return the cells of a column; raise KeyError if there is no such column."""
        if name not in self._joined:
            self._joined[name] = [cell for table in self._tables for cell in table.columns[name]]
        return self._joined[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables[0].columns)

    def __len__(self) -> int:
        return len(self._tables[0].columns)


class SavedColumns(Mapping[str, list[Any]]):
    """Columns of a data set of the library `datasets`, each read when it is used."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitem__(self, name: str) -> list[Any]:
        """Return the cells of a column; raise KeyError if there is no such column."""
        if name not in self._dataset.column_names:
            raise KeyError(name)
        return list(self._dataset[name][:])

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset.column_names)

    def __len__(self) -> int:
        return len(self._dataset.column_names)


def joined(tables: Sequence[Table], where: str) -> Table:
    """Put tables one below the other.

    Args:
        tables: One table or more.
        where: Name of the whole in messages.

    Raises:
        DataError: A table has other columns than the first.
    """
    if len(tables) == 1:
        return tables[0]
    first = set(tables[0].columns)
    for table in tables[1:]:
        differing = sorted(first ^ set(table.columns))
        if differing:
            raise DataError(
                f"{table.where}: its columns are not those of {tables[0].where}: "
                f"{', '.join(map(repr, differing))} only in one of them"
            )
    ends = list(accumulate(map(len, tables)))
    starts = [0, *ends]

    def locate(row: int) -> str:
        """Return the file of a row, and its place there."""
        place = bisect_right(ends, row)
        return f"{tables[place].where}, {tables[place].locate(row - starts[place])}"

    faults = {
        start + row: fault
        for start, table in zip(starts, tables, strict=False)
        for row, fault in table.faults.items()
    }
    notes = dict.fromkeys(table.note for table in tables if table.note)
    schemes = {table.scheme for table in tables}
    return Table(
        JoinedColumns(tables),
        where,
        locate,
        faults,
        num_rows=ends[-1],
        note="; ".join(notes),
        scheme=schemes.pop() if len(schemes) == 1 else "auto",
    )


def matching(path: Path) -> list[Path]:
    """Return the files that a path names: itself, or those that match its pattern, sorted.

    Raises:
        DataError: The path is a pattern, and no file matches it.
    """
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not found:
        raise DataError(f"{path}: no file matches this pattern")
    return found


def holds_shards(folder: Path) -> bool:
    """Return whether a folder holds parquet files or a saved data set."""
    saved = all((folder / name).is_file() for name in DISK)
    return saved or (folder / "dataset_dict.json").is_file() or any(_shards(folder))


def read_shards(folder: Path, layout: Layout) -> Table:
    """Read a folder of parquet files, or of `datasets.save_to_disk`.

    Raises:
        DataError: The folder holds several splits, or a file cannot be read.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(item.name for item in folder.iterdir() if item.is_dir())
        raise DataError(
            f"{folder}: holds several splits, {', '.join(splits)}: name one, {folder}/X"
        )
    if all((folder / name).is_file() for name in DISK):
        return _saved(folder)
    shards = sorted(_shards(folder))
    splits = sorted({match[1] for file in shards if (match := SPLIT_NAME.match(file.name))})
    if len(splits) > 1:
        raise DataError(
            f"{folder}: holds parquet files of several splits, {', '.join(splits)}: name those of "
            f"one by a pattern, such as {folder}/{splits[0]}*.parquet"
        )
    return joined([read_parquet(file, layout) for file in shards], str(folder))


def _shards(folder: Path) -> Iterator[Path]:
    # Spark and others write hidden checksums next to their files.
    return (
        file for file in folder.glob("*.parquet") if file.is_file() and file.name[0] not in "._"
    )


def _saved(folder: Path) -> Table:
    import datasets

    try:
        dataset = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{folder}: no data set of datasets.save_to_disk: {error}") from error
    return Table(SavedColumns(dataset), str(folder), num_rows=len(dataset))
