"""The clock of training_step.py, for Lightning and for the Hugging Face Trainer and its kin."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from transformers import TrainerCallback


class Clock:
    """Writes the seconds from the start of the last epoch to the end of its last step.

    Everything that a framework does in between is inside: fetching batches, forward, backward,
    clipping, optimizer, schedule, logging. The epoch before it warms the process up: its memory
    grows for the first dozen steps. Processor seconds do not grow on a shared core.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.times: list[float] = []
        self.processor: list[float] = []

    def begin(self) -> None:
        """Forget what was noted, and note the start of an epoch."""
        self.times.clear()
        self.processor.clear()
        self.tick()

    def tick(self) -> None:
        """Note the time: at the start of an epoch, and at the end of each step."""
        self.times.append(time.perf_counter())
        self.processor.append(time.process_time())

    def write(self) -> None:
        """Write the time, the number of steps and the peak of the memory."""
        result = {
            "seconds": self.times[-1] - self.times[0],
            "processor_seconds": self.processor[-1] - self.processor[0],
            "steps": len(self.times) - 1,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self.path.write_text(json.dumps(result))


class LightningClock(pl.Callback):
    """For `candelabra train`, by its name on the command line."""

    def __init__(self, path: str) -> None:
        self.clock = Clock(path)

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        self.clock.begin()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.clock.write()


class TrainerClock(TrainerCallback):
    """For the Trainer and for sentence-transformers' own."""

    def __init__(self, path: str) -> None:
        self.clock = Clock(path)

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.clock.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.clock.write()
