"""Checks and atomic writing of the file given by `output=`."""

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
