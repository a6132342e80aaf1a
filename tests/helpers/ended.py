"""Processes that are no more, and one that holds a run folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.command_line import SOURCE

HOLD = """
import os, pathlib, sys, time
from candelabra.run.place import run_lock
with run_lock(pathlib.Path(sys.argv[1]), writes=True):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""
"""A run, and a process that it has forked, as for the preparing of batches."""


def ended_process() -> int:
    """Return the id of a process that has just ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@contextmanager
def running(folder: str) -> Iterator[tuple[int, int]]:
    """Another process that holds the folder, and its worker; both are gone afterwards."""
    command = [sys.executable, "-c", HOLD, folder]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        try:
            yield run.pid, worker
        finally:
            run.kill()
            os.kill(worker, 9)
