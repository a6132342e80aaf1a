"""Write files whole or not at all, and check where output goes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from candelabra.errors import ConfigError, DataError

POINTER = b"version https://git-lfs"
LARGEST_POINTER = 1024
"""Beginning, and number of bytes that is not reached, of the pointer to a file of Git LFS."""
UNFETCHED = "a pointer of Git LFS, not the file; `git lfs pull` fetches it"
DRAFT = ".{name}.{process}.tmp"
"""Name of the temporary file from which a process replaces the file `name`."""
OLD = ".{name}.{process}.old"
"""Name of the folder that a process has moved away from `name` to replace it."""
_DRAFT_NAME, _OLD_NAME = (
    re.compile(rf"\.(?P<name>.+)\.(?P<process>[1-9][0-9]*)\.{ending}", re.DOTALL)
    for ending in ("tmp", "old")
)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    A crash leaves the old file or the new one, and so does a loss of power. Temporary files that
    killed processes left of the same file are removed.

    Args:
        path: File to write; its folder is created.

    Yields:
        The temporary file, open for writing.

    Raises:
        OSError: If the file cannot be written.
    """
    try:
        remove_drafts(path.parent, [glob.escape(path.name)])
        with drafted(path) as draft, draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None:  # the error of a full disk has no name
            error.filename = str(path)
        raise


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose content replaces `path` when the block ends without an error.

    For files, links and folders that a library writes by name. An empty folder is replaced by a
    folder; a folder that is not empty is moved away first and removed at the end.

    Args:
        path: File, link or folder to write; its parent folder is created.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    old = path.with_name(OLD.format(name=path.name, process=os.getpid()))
    try:
        yield draft
        if draft.is_dir() and not draft.is_symlink() and path.exists():
            path.replace(old)
        draft.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
        for left in (draft, old):
            _remove(left)


def draft_of(path: Path) -> Path:
    """Return the temporary path from which this process replaces `path`."""
    return path.with_name(DRAFT.format(name=path.name, process=os.getpid()))


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder; do nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drafts(folder: Path, names: Iterable[str]) -> list[tuple[Path, int]]:
    """Return the drafts directly in a folder, each with the id of its process.

    Args:
        folder: Folder to search; it may be missing.
        names: Names of the complete files; `*` matches any characters.
    """
    return [(path, process) for path, _, process in _of_processes(folder, names, _DRAFT_NAME)]


def remove_drafts(folder: Path, names: Iterable[str]) -> None:
    """Remove the drafts of files and links that killed processes left in a folder.

    Files of other names, files in subfolders and drafts of living processes are kept.

    Args:
        folder: As in `drafts`.
        names: As in `drafts`.
    """
    for draft, process in drafts(folder, names):
        if not _lives(process) and (draft.is_symlink() or draft.is_file()):
            _remove(draft)


def clear_folder_drafts(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of writing folders with `drafted`.

    If a process was killed while it replaced a folder, the old folder is put back. Drafts of
    other names and of living processes are kept.

    Args:
        folder: Folder that holds the written folders; it may be missing.
        names: Names of the written folders; `*` matches any characters.
    """
    patterns = tuple(names)
    for old, name, process in _of_processes(folder, patterns, _OLD_NAME):
        if not _lives(process) and old.is_dir() and not old.is_symlink():
            if (folder / name).exists():
                _remove(old)
            else:
                old.replace(folder / name)
    for draft, process in drafts(folder, patterns):
        if not _lives(process) and draft.is_dir() and not draft.is_symlink():
            _remove(draft)


def _of_processes(
    folder: Path, names: Iterable[str], form: re.Pattern[str]
) -> list[tuple[Path, str, int]]:
    """Return the paths in a folder whose name has a form, each with the two parts of its name."""
    patterns = tuple(names)
    if not folder.is_dir():
        return []
    matches = [(path, form.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    return [
        (path, match["name"], int(match["process"]))
        for path, match in matches
        if match and any(fnmatchcase(match["name"], name) for name in patterns)
    ]


def _lives(process: int) -> bool:
    """Return whether another process has this id.

    A draft with the id of this process was left by an earlier process of the same id.
    """
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with the keys in the given order, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value per line, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_pointer(path: Path) -> bool:
    """Return whether a file is the pointer to one that Git LFS has not fetched."""
    if path.stat().st_size >= LARGEST_POINTER:
        return False
    return path.read_bytes().startswith(POINTER)


def check_output(path: Path, suffixes: Iterable[str] | None = None) -> None:
    """Check that an output file has an allowed suffix and can be written.

    Args:
        path: Output file.
        suffixes: Allowed suffixes, such as `.csv`; `None` allows any.

    Raises:
        ConfigError: If the path is a folder, has another suffix, or cannot be written.
    """
    if path.is_dir():
        raise ConfigError(f"output={path}: is a folder, must be a file")
    known = [path.suffix] if suffixes is None else list(suffixes)
    if path.suffix not in known:
        rule = ("one of " if len(known) > 1 else "") + ", ".join(known)
        raise ConfigError(f"output={path}: must end in {rule}")
    check_place(path)


def check_place(path: Path, *, key: str = "output") -> None:
    """Check that a file or folder can be created.

    Args:
        path: File or folder.
        key: Configuration key that gave the path, for the error message.

    Raises:
        ConfigError: If its nearest existing parent is not a folder in which one can be made.
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"{key}={path}: cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={path}: cannot be written: {above} is not writable")
    try:  # Some file systems, such as that of /proc, refuse although the folder is writable.
        os.rmdir(tempfile.mkdtemp(prefix=".candelabra", dir=above))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{key}={path}: cannot be written in {above}: {reason}") from error


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when it is complete (`files.replacing`).

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        with replacing(path) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"output={path}: cannot be written: {error.strerror or error}") from error
