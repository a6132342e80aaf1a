"""Silences what libraries say that no reader can act on."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

IRRELEVANT = (
    r".*treespec, LeafSpec.*",  # Lightning's own use of torch
    r".*smaller than the logging interval.*",  # short runs log their epochs' ends
    r".*module\(s\) in eval mode at the start of training.*",  # what is frozen has to be
    r".*recommended to use `self.log\(.*sync_dist=True\)`.*",  # metrics are summed before
    r".*resuming from a checkpoint that ended before the epoch ended.*",  # the schedule knows where
    r".*was called before the ``update`` method.*",  # a process may see none of a task's rows
    r".*does not have many workers.*",  # texts are tokenised already; workers would only copy
    r".*Checkpoint directory .* is not empty.*",  # a resumed run goes on in its own
)


def quiet() -> None:
    """Hides progress bars of transformers, and warnings that need no action."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if not logging.getLogger().handlers:
        # No run.log takes it: what the devices are, and advertisements.
        for name in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message=message)
    sys.unraisablehook = _said_already


def _said_already(unraisable: Any) -> None:
    """A loader that is taken down meets a worker's death again; the run's error has told it."""
    if "DataLoader worker" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
