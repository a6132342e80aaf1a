"""Ends of a process as by the kernel; imported by processes that import nothing heavy."""

from __future__ import annotations

import os
import signal


def kill() -> None:
    """As the kernel does when memory is short: this process, or the one that launched it."""
    launched = "CANDELABRA_LAUNCHED" in os.environ
    os.kill(os.getppid() if launched else os.getpid(), signal.SIGKILL)


def killed(*_: object) -> None:
    """In place of work that another process would do."""
    kill()
