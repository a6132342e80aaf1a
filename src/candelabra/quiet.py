"""Suppression of library warnings that users cannot act on."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from candelabra.errors import printable

IRRELEVANT = (
    r".*treespec, LeafSpec.*",  # raised by Lightning's own use of PyTorch
    r".*smaller than the logging interval.*",  # short runs still log at the end of epochs
    r".*module\(s\) in eval mode at the start of training.*",  # intended for frozen modules
    r".*recommended to use `self.log\(.*sync_dist=True\)`.*",  # metrics are summed already
    r".*resuming from a checkpoint that ended before the epoch ended.*",  # the schedule resumes it
    r".*was called before the ``update`` method.*",  # a process may receive no rows of a task
    r".*does not have many workers.*",  # texts are already tokenised
    r".*Checkpoint directory .* is not empty.*",  # a resumed run reuses its folder
)


class PrintableFormatter(logging.Formatter):
    """Formatter of log records whose texts cannot control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a text, control characters as escapes."""
        return printable(super().format(record))


def quiet() -> None:
    """Hide the progress bars of transformers, and warnings that need no action."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter())
    if not logging.getLogger().handlers:
        # Without a run.log, Lightning prints its device summary and tips to the terminal.
        for name in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message=message)
    sys.unraisablehook = _ignore_dead_worker


def _ignore_dead_worker(unraisable: Any) -> None:
    """Drop the repeated error of a dead DataLoader worker, and report all other errors."""
    if "DataLoader worker" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
