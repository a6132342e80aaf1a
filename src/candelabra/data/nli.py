"""Natural language inference (NLI) data for training sentence embeddings.

A row is a premise, a hypothesis and one of the labels entailment, neutral and contradiction. A view
converts the rows into the inputs of one kind of objective, such as scored pairs or triplets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from candelabra.data.files.readers import check_path, read_table
from candelabra.data.files.table import BadRowError, Table
from candelabra.data.rows.labels import LabelIds, are_positions
from candelabra.data.sources import Hub
from candelabra.errors import DataError, nearest

LABELS = ("entailment", "neutral", "contradiction")
COLUMNS = ("premise", "hypothesis", "label")

Found = tuple[tuple[str, str, str], str]
"""A row: premise, hypothesis and label, and the place of the row in its file."""
Seen = tuple[tuple[Any, ...], str]
"""A row of a view: its cells, and the place of its first text in the file."""


@dataclass(frozen=True)
class Nli:
    """Source of NLI rows from files or from a data set of the Hub.

    Attributes:
        files: Files of each split, whose rows are concatenated.
        folder: Folder that the file paths are relative to. If `None`, the rows come from the Hub
            when `hub` is set, and otherwise the paths are relative to the working directory.
        hub: Arguments of `Hub`.
        view: Columns of the rows. `labelled`: premise, hypothesis and label. `entailed`: premise,
            hypothesis, and 1 for entailment or else 0. `shuffled`: premise, entailed hypothesis,
            and as `other` the hypothesis of another entailed pair. `contradicted`: premise, an
            entailed hypothesis and a contradicted one.
        draw: Number of rows that are randomly drawn from each split, or `None` for all of them. The
            draw precedes the view, so that all views use the same rows.
        seed: Seed of the draw and of the view `shuffled`.
    """

    files: Mapping[str, str | Sequence[str]]
    folder: str | None = None
    hub: Mapping[str, Any] | None = None
    view: str = "labelled"
    draw: Mapping[str, int | None] = field(default_factory=dict)
    seed: int = 42

    def check(self) -> None:
        """Check the settings and the existence of the files.

        Raises:
            DataError: The view is unknown, a number of rows is invalid, or a file is missing.
        """
        if self.view not in VIEWS:
            raise DataError(
                f"view must be one of {', '.join(VIEWS)}, found {self.view!r}"
                f"{nearest(self.view, VIEWS)}"
            )
        for split, size in self.draw.items():
            if size is not None and (not isinstance(size, int) or size < 1):
                raise DataError(f"draw.{split} must be a count of rows, found {size!r}")
        if self._from_hub is not None:
            self._from_hub.check()
            return
        for split in self.files:
            for file in self._files(split):
                if self.folder is None and not self._path(file).exists():
                    raise DataError(
                        f"{file}: missing file ({split}): no folder was given, for instance by "
                        "data_dir=FOLDER"
                    )
                check_path(self._path(file))

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, or `None` if the source has no such split.

        Raises:
            DataError: A file or a column is missing, or the Hub cannot be reached.
        """
        self.check()
        if self._from_hub is None:
            tables = [read_table(self._path(file)) for file in self._files(split)]
        else:
            table = self._from_hub.read(split)
            tables = [] if table is None else [table]
        if not tables:
            return None
        rows = [row for table in tables for row in _rows(table)]
        size, random = self.draw.get(split), Random(f"{self.seed} {split}")
        if size is not None and size < len(rows):
            # Only random() is guaranteed to give the same numbers in every Python version.
            keys = [random.random() for _ in rows]
            rows = [rows[i] for i in sorted(sorted(range(len(rows)), key=keys.__getitem__)[:size])]
        return self._seen(rows, random, where=f"NLI, view {self.view} ({split})")

    @property
    def _from_hub(self) -> Hub | None:
        wanted = self.folder is None and self.hub is not None
        return Hub(**dict(self.hub or {})) if wanted else None

    def _files(self, split: str) -> Sequence[str]:
        files = self.files.get(split, ())
        return [files] if isinstance(files, str) else files

    def _path(self, file: str) -> Path:
        return Path(self.folder or "", file).expanduser()

    def _seen(self, rows: Sequence[Any], random: Random, *, where: str) -> Table:
        """Apply the view to the valid rows, and append a fault for each invalid row."""
        good = [(cells, place) for cells, place, fault in rows if fault is None]
        bad = [(fault, place) for _, place, fault in rows if fault is not None]
        rows_seen, places = [], []
        for cells, place in VIEWS[self.view](good, random):
            rows_seen.append(cells)
            places.append(place)
        names = COLUMNS_OF[self.view]
        empty = [(None,) * len(names)] * len(bad)
        columns = dict(zip(names, map(list, zip(*rows_seen, *empty, strict=True)), strict=False))
        faults = {len(places) + i: error for i, (error, _) in enumerate(bad)}
        places += [place for _, place in bad]
        return Table(columns, where, places.__getitem__, faults)


def _rows(table: Table) -> list[tuple[tuple[Any, ...], str, BadRowError | None]]:
    cells = zip(*(table.column(name, role=name) for name in COLUMNS), strict=True)
    positions = are_positions(table.column(COLUMNS[-1], role=COLUMNS[-1]), LABELS)
    label_id, rows = LabelIds(LABELS, positions=positions), []
    for row, (premise, hypothesis, label) in enumerate(cells):
        name, fault = label, table.faults.get(row)
        try:
            name = label if fault else LABELS[label_id(label)]
        except BadRowError as error:
            fault = error
        rows.append(((premise, hypothesis, name), f"{table.where}, {table.locate(row)}", fault))
    return rows


def _labelled(rows: list[Found], _: Random) -> Iterator[Seen]:
    yield from rows


def _entailed(rows: list[Found], _: Random) -> Iterator[Seen]:
    for (premise, hypothesis, label), place in rows:
        yield (premise, hypothesis, float(label == LABELS[0])), place


def _shuffled(rows: list[Found], random: Random) -> Iterator[Seen]:
    entailed = [row for row in rows if row[0][2] == LABELS[0]]
    keys = [random.random() for _ in entailed]
    # Each row gets the hypothesis of the next row on a random cycle, and so never its own.
    circle = sorted(range(len(entailed)), key=keys.__getitem__)
    if len(entailed) == 1:
        return  # a single pair has no other hypothesis
    following = dict(zip(circle, [*circle[1:], *circle[:1]], strict=True))
    for row, ((premise, hypothesis, _), place) in enumerate(entailed):
        yield (premise, hypothesis, entailed[following[row]][0][1]), place


def _contradicted(rows: list[Found], _: Random) -> Iterator[Seen]:
    by_premise: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        premise, _hypothesis, label = row[0]
        by_premise[premise][label].append(row)
    for premise, by_label in by_premise.items():
        for entailed, contradicted in zip(by_label[LABELS[0]], by_label[LABELS[2]], strict=False):
            yield (premise, entailed[0][1], contradicted[0][1]), entailed[1]


VIEWS: dict[str, Callable[[list[Found], Random], Iterator[Seen]]] = {
    "labelled": _labelled,
    "entailed": _entailed,
    "shuffled": _shuffled,
    "contradicted": _contradicted,
}
COLUMNS_OF = {
    "labelled": COLUMNS,
    "entailed": ("premise", "hypothesis", "entailed"),
    "shuffled": ("premise", "hypothesis", "other"),
    "contradicted": ("premise", "entailed", "contradicted"),
}
