"""Files written whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from candelabra.errors import ConfigError, DataError

DRAFT = ".{name}.{process}.tmp"
_DRAFT_NAME = re.compile(r"\.(?P<name>.+)\.(?P<process>[1-9][0-9]*)\.tmp", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Writes beside the target and renames, so that a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(DRAFT.format(name=path.name, process=os.getpid()))
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drafts(folder: Path, names: Iterable[str]) -> list[tuple[Path, int]]:
    """Return the drafts that lie in a folder, but not below it, each with its process' id.

    Args:
        folder: Where to look; a folder that is not there has none.
        names: What the whole files are called; `*` stands for any letters.
    """
    wanted = tuple(names)
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        match = _DRAFT_NAME.fullmatch(path.name)
        if match and any(fnmatchcase(match["name"], name) for name in wanted):
            found.append((path, int(match["process"])))
    return found


def remove_drafts(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of unfinished writes of these names in a folder.

    What has another name stays, as does all that lies in folders below, and the draft of a
    process that still lives.

    Args:
        folder: As in `drafts`.
        names: As in `drafts`.
    """
    for draft, process in drafts(folder, names):
        if not _lives(process) and (draft.is_symlink() or draft.is_file()):
            draft.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Return whether another process has this id: a draft under our own is of one before us."""
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
    """Writes UTF-8 text, whole or not at all."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
        ConfigError: If its nearest existing parent is not a writable folder.
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"{key}={path}: cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={path}: cannot be written: {above} may not be written in")


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when it is complete (`files.replacing`).

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        remove_drafts(path.parent, [glob.escape(path.name)])  # as an earlier command was killed
        with replacing(path) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"output={path}: cannot be written: {error.strerror or error}") from error
