"""The clock of mixing.py: from the end of one step to the end of another, on every side."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass
class Meter:
    """Counts what the steps after the warm-up hold, and the time that they take.

    Fetching a batch, forward, backward, clipping, optimizer and schedule are all inside.
    """

    warmup: int
    total: int
    num_ended: int = 0
    times: list[float] = field(default_factory=list)
    # Tensors until the end: reading one would wait for the GPU.
    batches: list[tuple[int, int, list[Tensor]]] = field(default_factory=list)

    def step_begins(self, masks: Sequence[Tensor]) -> None:
        """Notes the step's attention masks, one for each pass through the encoder."""
        num_examples = sum(len(mask_BL) for mask_BL in masks)
        num_padded = sum(mask_BL.numel() for mask_BL in masks)
        self.batches.append((num_examples, num_padded, [mask_BL.sum() for mask_BL in masks]))

    def step_ended(self) -> None:
        self.num_ended += 1
        if self.num_ended in (self.warmup, self.total):
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            self.times.append(time.perf_counter())

    def result(self) -> dict[str, Any]:
        """Speeds of the steps after the warm-up; `padding` is the part of the positions."""
        if self.num_ended != self.total:
            raise ValueError(f"the training must have {self.total} steps, it had {self.num_ended}")
        seconds = self.times[1] - self.times[0]
        measured = self.batches[self.warmup : self.total]
        examples, padded = (sum(batch[i] for batch in measured) for i in (0, 1))
        tokens_S = [sum(map(int, counts)) for *_, counts in self.batches]
        tokens = sum(tokens_S[self.warmup : self.total])
        return {
            "steps": len(measured),
            "seconds": seconds,
            "examples": examples,
            "tokens": tokens,
            "tokens_with_warmup": sum(tokens_S),
            "steps_per_second": len(measured) / seconds,
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,
            "padding": 1 - tokens / padded,
            "threads": torch.get_num_threads(),
        }

    def write(self, path: Path, **facts: Any) -> None:
        path.write_text(json.dumps({**self.result(), **facts}))
