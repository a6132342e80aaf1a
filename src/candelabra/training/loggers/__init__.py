"""Loggers of a training run, one file each."""

from candelabra.training.loggers.csv_file import MetricsFile
from candelabra.training.loggers.wandb_tracker import WandbTracker

__all__ = [
    "MetricsFile",
    "WandbTracker",
]
