"""Files of features: the output of a frozen encoder for every text of a split.

An entry is a folder `KEY/` with one `.npy` file for each array and `about.json`, which holds their
checksums. It is written whole or not at all, and never changed afterwards.

Shapes: R rows of an array, D encoder width.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from candelabra.data.feature_writer import FeatureWriter
from candelabra.data.waiting_lock import waiting_lock
from candelabra.files import checksum, clear_folder_drafts, drafted, read_json

log = logging.getLogger(__name__)

FOLDER = "features"
"""Folder of the features in the folder of all caches."""
ABOUT = "about.json"
KEY = re.compile(r"[0-9a-f]{32}")
"""Form of a key, which is the name of the entry's folder."""
DTYPES = (np.dtype(np.float16), np.dtype(np.float32))
COMPUTED_AS = ("float32", "bfloat16")
"""Types in which an encoder gives its output under the supported precisions."""
GB = 10**9


@dataclass(frozen=True)
class StoredArrays:
    """Arrays of an entry.

    Attributes:
        arrays: Name -> memory-mapped array (R, D) in float16 or float32.
        computed_as: Name of the type in which they were computed, one of `COMPUTED_AS`.
    """

    arrays: dict[str, np.ndarray]
    computed_as: str


@dataclass(frozen=True)
class Entry:
    """Entry on the disk.

    Attributes:
        path: Its folder.
        title: What it holds, such as `TASK.train`.
        num_bytes: Size of its files.
        used: Time of its last use, in seconds since 1970; 0 if it is damaged.
    """

    path: Path
    title: str
    num_bytes: int
    used: float


@dataclass(frozen=True)
class FeatureFiles:
    """Folder of the entries, with a limit of their size.

    Attributes:
        folder: The folder; it is created when the first entry is written.
        most_gb: Maximum size of all entries in GB (10^9 bytes); `None` for no limit.
    """

    folder: Path
    most_gb: float | None

    def read(
        self, key: str, shapes: Mapping[str, tuple[int, int]], *, check: bool = True
    ) -> StoredArrays | None:
        """Open arrays of an entry, and remember that it was used.

        Args:
            key: Key of the entry.
            shapes: Expected shape (R, D) of each array.
            check: Whether checksums are compared; false for an entry that this process just wrote.

        Returns:
            The arrays; `None` if there is no entry or it is damaged.
        """
        folder = self.folder / key
        if not os.path.lexists(folder):
            return None
        try:
            about = read_json(folder / ABOUT)
            sums, computed_as = about["sha256"], about["computed_as"]
            arrays = {
                name: _mapped(folder / f"{name}.npy", sums[name], check=check) for name in shapes
            }
            for name, array in arrays.items():
                if array.shape != shapes[name] or array.dtype not in DTYPES:
                    raise ValueError(f"{name}.npy holds {array.dtype} of shape {array.shape}")
            if computed_as not in COMPUTED_AS:
                raise ValueError(f"computed_as is {computed_as!r}")
        except (OSError, LookupError, TypeError, ValueError) as error:
            log.warning(
                "the features in %s are damaged (%s); they are computed again", folder, error
            )
            return None
        with suppress(OSError):  # A cache of somebody else may be read-only.
            os.utime(folder / ABOUT)
        return StoredArrays(arrays, computed_as)

    @contextmanager
    def writing(
        self, key: str, shapes: Mapping[str, tuple[int, int]], dtype: np.dtype[Any], title: str
    ) -> Iterator[FeatureWriter]:
        """Open an entry for writing; it exists only if the block ends without an error.

        Entries that were not used for the longest time are removed if the limit is exceeded.

        Args:
            key: Key of the entry.
            shapes: Shape (R, D) of each array.
            dtype: Type of the numbers.
            title: What the entry holds, for the user.

        Raises:
            OSError: If it cannot be written.
        """
        clear_folder_drafts(self.folder, ["*"])
        with drafted(self.folder / key) as draft:
            draft.mkdir()
            writer = FeatureWriter(draft, shapes, dtype)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
            sums = {name: checksum(path) for name, path in writer.paths.items()}
            about = {"title": title, "computed_as": writer.computed_as, "sha256": sums}
            text = json.dumps(about, indent=2, ensure_ascii=False)
            (draft / ABOUT).write_text(text + "\n", encoding="utf-8")
        self.trim(keep=key)

    def obstacle(self, num_bytes: int) -> str | None:
        """Return why an entry of this size cannot be kept, or `None` if it can.

        Raises:
            OSError: If the folder cannot be created.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.most_gb is not None and num_bytes > self.most_gb * GB:
            return f"more than paths.feature_cache_gb={self.most_gb}"
        free = shutil.disk_usage(self.folder).free
        return f"more than the {free / GB:.1f} GB free on the disk" if num_bytes > free else None

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Wait until no other process computes an entry, and keep others waiting.

        Raises:
            OSError: If the folder is not writable.
        """
        return waiting_lock(self.folder / f".{key}.lock", "these features")

    def entries(self) -> list[Entry]:
        """Return all entries, the one that was used last at the end."""
        if not self.folder.is_dir():
            return []
        folders = [path for path in self.folder.iterdir() if KEY.fullmatch(path.name)]
        found = [entry for entry in map(_entry, folders) if entry is not None]
        return sorted(found, key=lambda entry: entry.used)

    def clear_rest(self) -> None:
        """Remove what killed processes left: unfinished entries and locks.

        Raises:
            OSError: If a file cannot be removed.
        """
        clear_folder_drafts(self.folder, ["*"])
        for path in self.folder.glob(".*.lock"):
            path.unlink(missing_ok=True)

    def trim(self, *, keep: str | None = None) -> None:
        """Remove the entries with the oldest use until the limit is kept.

        Processes that use a removed entry keep it open, and are not disturbed.

        Args:
            keep: Key of an entry that is not removed.
        """
        if self.most_gb is None:
            return
        entries = self.entries()
        total = sum(entry.num_bytes for entry in entries)
        for entry in entries:
            if total > self.most_gb * GB and entry.path.name != keep:
                shutil.rmtree(entry.path, ignore_errors=True)
                total -= entry.num_bytes


def _mapped(path: Path, expected: object, *, check: bool) -> np.ndarray:
    """Return an array of a file without reading it into memory.

    Raises:
        ValueError: If the file is none of ours or damaged.
        OSError: If it cannot be read.
    """
    if not path.is_file():  # A pipe in its place would be waited for without end.
        raise ValueError(f"{path.name} is no file")
    if check and checksum(path) != expected:
        raise ValueError(f"the content of {path.name} is not that of its checksum")
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _entry(folder: Path) -> Entry | None:
    """Return an entry of the disk, or `None` if it is no folder or another process removes it."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    try:
        num_bytes = sum(path.stat().st_size for path in folder.iterdir())
        title, used = str(read_json(folder / ABOUT)["title"]), (folder / ABOUT).stat().st_mtime
    except FileNotFoundError:
        return None
    except (LookupError, TypeError, ValueError):
        title, used = folder.name, 0.0
    return Entry(folder, title, num_bytes, used)
