"""The file that `output=` names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from candelabra.errors import ConfigError, DataError, nearest
from candelabra.files import replacing


def check_output(path: Path, suffixes: Iterable[str] | None = None) -> None:
    """Raises ConfigError for a folder, and for a name with another suffix than these."""
    if path.is_dir():
        raise ConfigError(f"output={path}: is a folder, must be a file")
    known = [path.suffix] if suffixes is None else list(suffixes)
    if path.suffix not in known:
        rule = ("one of " if len(known) > 1 else "") + ", ".join(known)
        raise ConfigError(f"output={path}: must end in {rule}{nearest(path.suffix, known)}")


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """As `files.replacing`: an old file is replaced only by a whole one.

    Raises:
        DataError: It cannot be written.
    """
    try:
        with replacing(path) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"output={path}: cannot be written: {error.strerror or error}") from error
