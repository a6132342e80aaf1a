"""Command line. It imports nothing slow, so that help and errors in overrides come at once."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
from types import FrameType

from candelabra.errors import UserError, message_of, nearest
from candelabra.processes import ending_signals
from candelabra.version import __version__

COMMANDS = {
    "train": "train one encoder with the heads of all tasks (-m: a sweep)",
    "pretrain": "train an encoder on the texts of tasks, without their labels",
    "evaluate": "a bundle's metrics on its tasks' data",
    "predict": "a bundle's answers for a text or a file",
    "embed": "texts as vectors",
    "similarity": "how alike texts are: a table, a heat map",
    "compare": "two or more models on the same test rows, with intervals",
    "search": "the texts of a corpus that are nearest to a query",
    "mine": "negatives for pairs of texts; pairs out of documents",
    "study": "compare ways of training over several seeds, with a report on one page",
    "report": "a run, a sweep or a study on one page",
    "cache": "show or clear the files that trainings cache on the disk",
    "export": "a bundle in the format of another tool, with a model card",
}

HELP = """candelabra: one shared text encoder, several task heads.

usage: candelabra COMMAND [overrides]

commands:
{commands}

  candelabra COMMAND --help     options of a command
  candelabra --version

Overrides are Hydra's: `group=option` picks a file of conf/, `key=value` sets a value.
"""

INTERRUPTED, CLOSED_PIPE, WRONG_INPUT = 130, 141, 2
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk or of a limit, which can happen wherever anything is written."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
"""Errors of paths that the system refuses, which can happen with every path of a user."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<12}{text}" for name, text in COMMANDS.items())
        print(HELP.format(commands="\n".join(lines)))
        return 0
    if arguments[0] == "--version":
        print(f"candelabra {__version__}")
        return 0
    command, overrides = arguments[0], arguments[1:]
    if command not in COMMANDS:
        options = ", ".join(COMMANDS)
        return _fail(
            f"no command '{command}'{nearest(command, (*COMMANDS, '--help'))} (commands: {options})"
        )
    return _run(command, overrides)


def _run(command: str, overrides: list[str]) -> int:
    # A log that cannot be written, as on a full disk, would print a traceback for each line.
    logging.raiseExceptions = False
    # Hydra would otherwise print errors itself and exit; here they become one message.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for number in ending_signals():
        if number != signal.SIGINT:  # Python turns it into a KeyboardInterrupt.
            signal.signal(number, _terminated)
    # submitit announces a timeout or preemption by SIGUSR2 to every process of a SLURM job, which
    # would kill this one. The launcher handles the signal, and sends SIGTERM.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    from candelabra.config.messages import explained

    try:
        with explained(overrides):
            module = importlib.import_module(f"candelabra.commands.{command}")
            if {"-h", "--help"} & set(overrides):
                print(module.HELP)
                status = 0
            else:
                status = module.main(overrides)
            # Raise the error of a closed pipe here, and not at the exit of the interpreter.
            sys.stdout.flush()
            return status
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("candelabra: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has ended early, as `| head` does. The rest has no destination.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except OSError as error:
        if error.errno in REFUSED and error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}")
        if error.errno not in FULL:
            raise
        return _fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}")


def _fail(message: str) -> int:
    print(f"candelabra: error: {message_of(message)}", file=sys.stderr)
    return WRONG_INPUT


def _terminated(number: int, frame: FrameType | None) -> None:
    print("candelabra: terminated", file=sys.stderr)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
