"""A process that has imported the libraries of a training, and forks itself for each trial.

To import them takes most of a trial's start. A sweep has one such process for each trial that runs
at a time; a trial is a fork of it, as clean as a new process. It imports nothing that starts a
thread, and uses no GPU.

    python -m candelabra.run.preloaded DESCRIPTOR

DESCRIPTOR is a socket: each line that comes is a trial as JSON, and is answered by two lines of
JSON, the id of its process at its start, and its exit status and memory at its end.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from candelabra.processes import ending_signals

THREADS = "OMP_NUM_THREADS"

MODULES = (
    "candelabra.cli",
    "candelabra.commands.train",
    "candelabra.losses",
    "candelabra.metrics",
    "candelabra.run.start",
    "candelabra.run.train",
    "candelabra.training.callbacks",
    "candelabra.training.optim",
    "transformers.models.auto.modeling_auto",
    "torch._dynamo",  # PyTorch imports it for the first optimizer
)
"""Modules that nearly every training imports."""


class Preloaded:
    """The process with the libraries, as a sweep uses it: it runs one trial at a time.

    Args:
        threads: Threads of each trial, since the libraries read `OMP_NUM_THREADS` at their import.
    """

    def __init__(self, threads: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "candelabra.run.preloaded", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, THREADS: threads},
            )
        self.threads = threads
        self._stream = ours.makefile("rw", encoding="utf-8")
        ours.close()
        self.peak = 0
        """Memory of the last trial, as `resource.getrusage` gives it."""
        # Also when this object is forgotten: the process ends when nobody can ask for trials.
        self._end = weakref.finalize(self, _close, self._stream, self._process)

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
        """Run `candelabra train` and return its exit status.

        If this process is interrupted, terminate the trial, which then saves its state, and wait.

        Args:
            arguments: Arguments of `candelabra train`.
            environment: Variables of the environment.
            output: File that gets what the trial prints.
        """
        trial = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "output": str(output),
        }
        trial_id = None
        _send(self._stream, **trial)
        try:
            trial_id = self._answer().get("process")
            end = self._answer()
        except BaseException:
            trial_id = trial_id or self._answer().get("process")
            if trial_id is not None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(trial_id, signal.SIGTERM)
                self._answer()
            raise
        self.peak = end.get("peak", 0)
        return int(end.get("status", 1))

    def close(self) -> None:
        """End the process."""
        self._end()

    def lives(self) -> bool:
        """Return whether the process can run a trial."""
        return self._process.poll() is None

    def _answer(self) -> dict[str, Any]:
        """Return the next answer; an empty one if the process has died."""
        line = self._stream.readline()
        return dict(json.loads(line)) if line else {}


def _close(stream: TextIO, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):  # the process has died
        stream.close()
    process.wait()


def main() -> int:
    """Run trials until nobody can ask for more; the fork of a trial ends by SystemExit."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ending_signals()}
    for name in MODULES:
        importlib.import_module(name)
    with (
        socket.socket(fileno=int(sys.argv[1])) as channel,
        channel.makefile("rw", encoding="utf-8") as stream,
    ):
        trial = _next_trial(stream)
    if trial is None:
        return 0
    for number, handler in before.items():
        signal.signal(number, handler)
    _train(**trial)
    return 0


def _next_trial(stream: TextIO) -> dict[str, Any] | None:
    """Fork for each trial; return the trial in its fork, and `None` here, after the last one."""
    for line in stream:
        process = os.fork()
        if process == 0:
            return dict(json.loads(line))
        _send(stream, process=process)
        _, status, usage = os.wait4(process, 0)
        _send(stream, status=os.waitstatus_to_exitcode(status), peak=usage.ru_maxrss)
    return None


def _send(stream: TextIO, **message: Any) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def _train(arguments: Sequence[str], environment: Mapping[str, str], output: str) -> None:
    """Run `python -m candelabra train` in this process, which ends by SystemExit."""
    os.environ.clear()
    os.environ.update(environment)
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(printed, descriptor)
    os.close(printed)
    sys.argv = ["candelabra", "train", *arguments]
    runpy.run_module("candelabra", run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
