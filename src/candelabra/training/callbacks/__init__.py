"""Callbacks of a training run, one file each."""

from candelabra.training.callbacks.averaging import (
    ExponentialMovingAverage,
    StochasticWeightAveraging,
)
from candelabra.training.callbacks.checkpoints import ResumeCheckpoint
from candelabra.training.callbacks.gradients import GradientDiagnostics
from candelabra.training.callbacks.mixing_report import MixingReport
from candelabra.training.callbacks.non_finite import NonFiniteGuard
from candelabra.training.callbacks.progress import ProgressBar

__all__ = [
    "ExponentialMovingAverage",
    "GradientDiagnostics",
    "MixingReport",
    "NonFiniteGuard",
    "ProgressBar",
    "ResumeCheckpoint",
    "StochasticWeightAveraging",
]
