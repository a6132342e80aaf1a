"""Reader of folders that contain one sub-folder of text files for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from candelabra.data.files.layout import Layout
from candelabra.data.files.table import Table, row_place
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
        other = next((item for item in sorted(path.iterdir()) if item.is_file()), None)
        hint = f"; a pattern names other files: {path}/*{other.suffix}" if other else ""
        raise DataError(f"{path}: empty: no .txt file in a sub-folder, one for each label{hint}")
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
