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
def waiting_lock(path: Path, what: str) -> Iterator[bool]:
    """Wait until no other process holds a lock, and keep others waiting until the block ends.

    Args:
        path: File of the lock; it is removed at the end.
        what: Name of what is computed, for the message to the user who waits.

    Yields:
        Whether it had to wait: the other process may have computed what is missing.

    Raises:
        OSError: If the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, waited = _locked(path, what)
    try:
        yield waited
    finally:
        if _is_at(path, descriptor):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path, what: str) -> tuple[int, bool]:
    """Return the locked file, and whether another process had it before."""
    waited = False
    while True:
        # Do not follow a link: its target may belong to somebody else.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            waited |= _wait_for(descriptor, what)
            # The process that had the lock has removed the file. A later process makes another one.
            locked = _is_at(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if locked:
            return descriptor, waited
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _wait_for(descriptor: int, what: str) -> bool:
    """Take a lock until the file is closed, and return whether another process had it before."""
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            show(f"another process computes {what}: waiting for it")
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            return True
    except OSError as error:  # such as on a file system without locks
        log.info("two processes may compute %s, because no lock is possible: %s", what, error)
    return False
