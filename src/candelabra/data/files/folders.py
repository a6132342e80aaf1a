"""Reader of folders that contain one sub-folder of text files for each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from candelabra.data.files.layout import ENDINGS, Layout
from candelabra.data.files.packed import plain_name
from candelabra.data.files.table import Table, row_place, shown
from candelabra.data.files.text_files import decode
from candelabra.errors import DataError, nearest


def read_folder(path: Path, layout: Layout) -> Table:
    """Read the `.txt` files of the sub-folders into the columns `text` and `label`.

    Args:
        path: Folder that contains the sub-folders.
        layout: Its `subfolders` select the sub-folders and their labels.

    Raises:
        DataError: A sub-folder is missing, or there is no `.txt` file.
    """
    labels = _labels_of(path, layout.subfolders)
    files = [file for name in labels for file in sorted((path / name).glob("*.txt"))]
    if not files:
        found = _others(path)
        raise DataError(f"{path}: empty: no .txt file in a sub-folder, one for each label{found}")
    columns = {
        "text": [decode(file.read_bytes()).rstrip("\r\n") for file in files],
        "label": [labels[file.parent.name] for file in files],
    }
    names = [f"{file.parent.name}/{file.name}" for file in files]
    return Table(columns, str(path), lambda row: row_place(row, names[row]))


def _labels_of(path: Path, subfolders: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    existing = sorted(item.name for item in path.iterdir() if item.is_dir())
    if subfolders is None:
        return {name: name for name in existing}
    labels = dict(subfolders) if isinstance(subfolders, Mapping) else {n: n for n in subfolders}
    for name in labels:
        if name not in existing:
            raise DataError(f"{path}: missing sub-folder {name!r}{nearest(name, existing)}")
    return labels


def _others(path: Path) -> str:
    """Return the end of a message that says what a folder holds instead of texts by label."""
    patterns: Counter[str] = Counter()
    for file in chain(path.glob("*"), path.glob("*/*")):
        plain = plain_name(file)
        if plain.suffix.lower() in ENDINGS and file.is_file() and file.name[0] not in "._":
            within = "*/" * len(file.parent.relative_to(path).parts)
            patterns[f"{path}/{within}*{file.name[len(plain.stem) :]}"] += 1
    if patterns:
        return f"; a pattern names other files: {patterns.most_common(1)[0][0]}"
    deeper = min(path.glob("*/*/*.txt"), default=None)
    if deeper is not None:
        return f"; {deeper.parent.parent} has some"
    other = min((item.name for item in path.iterdir() if item.is_file()), default="")
    return f"; found {shown(other)}" if other else ""
