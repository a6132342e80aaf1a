"""The time of the operations of a training step, as a callback of `candelabra train`.

    PYTHONPATH=benchmarks candelabra train ... \
        +callbacks.profile._target_=step_profile.StepProfile +callbacks.profile.path=profile.txt

PyTorch's profiler records some steps of a process that has warmed up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.profiler import ProfilerActivity, profile


class StepProfile(pl.Callback):
    """Write the operations by the time of each alone, without the operations that it calls.

    Args:
        path: File to write.
        begin: Step to begin with.
        steps: Number of steps that are recorded; the run must have as many.
    """

    def __init__(self, path: str, begin: int = 30, steps: int = 6) -> None:
        self.path = Path(path)
        self.begin = begin
        self.steps = steps
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.begin:
            self.profiler.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.begin + self.steps:
            self.profiler.stop()
            averages = self.profiler.key_averages()
            self.path.write_text(averages.table(sort_by="self_cpu_time_total", row_limit=40))
