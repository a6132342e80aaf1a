"""The W&B logger of a trainer: from the configuration at the start to the results at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from candelabra.errors import PrunedError
from candelabra.training.loggers.run_media import RunMedia

if TYPE_CHECKING:
    from candelabra.training.loggers.wandb_tracker import WandbTracker


def trackers(trainer: pl.Trainer) -> list[WandbTracker]:
    """Return the W&B loggers of a trainer."""
    if not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
        return []  # without the import below, which takes a second
    from candelabra.training.loggers.wandb_tracker import WandbTracker

    return [logger for logger in trainer.loggers if isinstance(logger, WandbTracker)]


@contextlib.contextmanager
def tracked(trainer: pl.Trainer, config: Mapping[str, Any], tasks: Iterable[str]) -> Iterator[None]:
    """Log the resolved configuration, and end every W&B run as finished or failed.

    A run that its search ended early did not fail.
    """
    names = list(tasks)
    for tracker in trackers(trainer):
        tracker.log_config(config)
        tracker.define_axes(names)
    exit_code = 1
    try:
        yield
        exit_code = 0
    except PrunedError:
        exit_code = 0
        raise
    finally:
        for tracker in trackers(trainer):
            tracker.finish(exit_code)


def log_results(trainer: pl.Trainer, media: RunMedia) -> None:
    """Log the final scores, and at the end of every W&B run its tables, charts and pictures.

    Args:
        trainer: Trainer after the test.
        media: Media of the run, with the scores.
    """
    for tracker in trackers(trainer):
        tracker.log_summary(media.metrics)
        tracker.log_at_end(media.charts)
        tables = partial(media.predictions, tracker.max_predictions, texts=tracker.texts)
        tracker.log_at_end(tables)
