"""What happens around a fit: loggers get the configuration and a proper end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

from candelabra.training.tracking import WandbTracker


def trackers(trainer: pl.Trainer) -> list[WandbTracker]:
    """The W&B loggers of a trainer."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbTracker)]


@contextmanager
def tracked(trainer: pl.Trainer, config: Mapping[str, Any], tasks: Iterable[str]) -> Iterator[None]:
    """Logs the resolved configuration, and ends every W&B run as finished or failed."""
    names = list(tasks)
    for tracker in trackers(trainer):
        tracker.log_config(config)
        tracker.define_axes(names)
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        for tracker in trackers(trainer):
            tracker.finish(exit_code)
