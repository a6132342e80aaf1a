"""Processes that are no more."""

from __future__ import annotations

import subprocess
import sys


def ended_process() -> int:
    """Return the id of a process that has just ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid
