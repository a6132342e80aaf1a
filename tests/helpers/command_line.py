"""The command line, as tests call it: in this process, or in one of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candelabra
from candelabra.cli import main

HEAVY = ("torch", "transformers", "pytorch_lightning", "datasets", "wandb", "torchmetrics")
HEAVY_AFTER = (
    "import sys; from candelabra.cli import main; status = main(sys.argv[1:]); "
    f"print('heavy:', *(name for name in {HEAVY} if name in sys.modules)); sys.exit(status)"
)
"""A program that runs a command, and says at last which heavy libraries it has imported."""
SMALL = ["encoder=tiny", "logger=csv", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
"""Of a training that takes seconds."""
SOURCE = str(Path(candelabra.__file__).parents[1])
TESTS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of an error; fails where there is more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("candelabra: error: ")
        return lines[0].removeprefix("candelabra: error: ")


@dataclass(frozen=True)
class Run:
    """A run folder, and what the command that made it left."""

    folder: Path
    done: Done

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


def called(*arguments: str) -> Done:
    """Runs a command in this process; quick once the heavy libraries are imported."""
    out, err = io.StringIO(), io.StringIO()
    with _restored(), redirect_stdout(out), redirect_stderr(err):
        status = main(list(arguments))
    return Done(status, out.getvalue(), err.getvalue())


def started(*arguments: str, folder: Path | None = None) -> Done:
    """Runs a command in a process of its own, in `folder`."""
    return python("-m", "candelabra", *arguments, folder=folder)


def python(*arguments: str, folder: Path | None = None) -> Done:
    """Run Python with this checkout's sources and these helpers."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), SOURCE, TESTS]))
    environment = {**os.environ, "PYTHONPATH": path, "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def _restored() -> Iterator[None]:
    """Takes back what a command changes for its whole process."""
    argv, environment, handler = sys.argv, dict(os.environ), signal.getsignal(signal.SIGTERM)
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGTERM, handler)
        for added in set(root.handlers) - set(handlers):
            added.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.raiseExceptions = raises


def wrong(*overrides: str) -> str:
    """The one message about a training that cannot start."""
    done = called("train", *overrides)
    assert done.status == 2
    assert done.out == ""
    return done.message
