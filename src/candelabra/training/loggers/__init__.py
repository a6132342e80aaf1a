"""Loggers of a training run, one file each."""

from typing import Any

from candelabra.training.loggers.csv_file import MetricsFile

__all__ = [
    "MetricsFile",
    "WandbTracker",
]


def __getattr__(name: str) -> Any:
    """Import the logger for W&B at its first use, because importing W&B takes a second."""
    if name == "WandbTracker":
        from candelabra.training.loggers.wandb_tracker import WandbTracker

        return WandbTracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
