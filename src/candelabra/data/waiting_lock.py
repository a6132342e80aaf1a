"""Lock that keeps two processes from computing the same entry of a cache."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candelabra.tables import show

log = logging.getLogger(__name__)


@contextmanager
def waiting_lock(path: Path, what: str) -> Iterator[None]:
    """Wait until no other process holds a lock, and keep others waiting until the block ends.

    Another process may have computed what is missing until the block begins.

    Args:
        path: File of the lock; it is removed at the end.
        what: Name of what is computed, for the message to the user who waits.

    Raises:
        OSError: If the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, what)
    try:
        yield
    finally:
        if _is_at(path, descriptor):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path, what: str) -> int:
    """Return the descriptor of the locked file."""
    while True:
        # Do not follow a link: its target may belong to somebody else.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            _wait_for(descriptor, what)
            # The process that had the lock has removed the file. A later process makes another one.
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _wait_for(descriptor: int, what: str) -> None:
    """Take a lock until the file is closed."""
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            show(f"another process computes {what}: waiting for it")
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # such as on a file system without locks
        log.info("two processes may compute %s, because no lock is possible: %s", what, error)
