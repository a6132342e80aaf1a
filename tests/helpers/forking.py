"""Commands in processes of their own that start at once: a parent has imported what is heavy.

`python -m helpers.forking` reads orders, one a line; it forks a process for each, and answers with
the status that process ended with.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from helpers.command_line import Done

HEAVY = (
    "transformers.models.bert.modeling_bert",
    "candelabra.commands.train",
    "candelabra.build.trainer",
    "candelabra.run.finish",
    "candelabra.metrics.spans",
    "candelabra.tables",
    "candelabra.training.loggers.wandb_tracker",
)
"""What every training imports."""


def main() -> None:
    """Takes orders until there are no more."""
    # As when a command imports Lightning: it adds no handler of its own where there is one.
    logging.getLogger().addHandler(logging.NullHandler())
    for name in HEAVY:
        importlib.import_module(name)

    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            _obey(**json.loads(order))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _obey(arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    """Becomes `candelabra ARGUMENTS`; never returns."""
    from candelabra.cli import main as candelabra

    for number, name in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.environ.update(environment)
    sys.argv[0] = "candelabra"
    sys.exit(candelabra(arguments))


class Forks:
    """Starts commands, one after the other.

    Args:
        folder: Their working folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Runs `candelabra ARGUMENTS`; a negative status is the signal that killed it."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        out, err = (self.folder / f"std{name}.txt" for name in ("out", "err"))
        order = {"arguments": arguments, "environment": environment}
        print(json.dumps({**order, "out": str(out), "err": str(err)}), file=self._parent.stdin)
        self._parent.stdin.flush()
        status = int(self._parent.stdout.readline())
        return Done(status, out.read_text(), err.read_text())

    def close(self) -> None:
        self._parent.communicate()


if __name__ == "__main__":
    main()
