"""The file that `output=` names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from candelabra.errors import ConfigError, DataError
from candelabra.files import remove_drafts, replacing


def check_output(path: Path, suffixes: Iterable[str] | None = None) -> None:
    """Raises ConfigError for another suffix than these, and for a file that cannot be written."""
    if path.is_dir():
        raise ConfigError(f"output={path}: is a folder, must be a file")
    known = [path.suffix] if suffixes is None else list(suffixes)
    if path.suffix not in known:
        rule = ("one of " if len(known) > 1 else "") + ", ".join(known)
        raise ConfigError(f"output={path}: must end in {rule}")
    check_place(path)


def check_place(path: Path, *, key: str = "output") -> None:
    """Raises ConfigError where nothing of that name, which a key gave, can be made."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"{key}={path}: cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={path}: cannot be written: {above} may not be written in")


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """As `files.replacing`: an old file is replaced only by a whole one.

    Raises:
        DataError: It cannot be written.
    """
    try:
        remove_drafts(path.parent, [glob.escape(path.name)])  # as an earlier command was killed
        with replacing(path) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"output={path}: cannot be written: {error.strerror or error}") from error
