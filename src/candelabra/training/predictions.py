"""Writes what the model said of every test row: `predictions/<task>.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from candelabra.data.collate import TokenizedSplit
from candelabra.files import write_jsonl
from candelabra.records import Batch
from candelabra.training.module import MultiTaskModule


class PredictionWriter(pl.Callback):
    """Collects answers during a test and writes them at its end, in the order of the source.

    Args:
        folder: Where `<task>.jsonl` go.
        splits: The split that is tested, for each task.
    """

    def __init__(self, folder: Path, splits: Mapping[str, TokenizedSplit]) -> None:
        self.folder = folder
        self.splits = dict(splits)
        self._rows: dict[str, dict[int, Any]] = {}

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier test."""
        self._rows = {task: {} for task in self.splits}

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Batch],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Turns one batch's logits into answers."""
        assert isinstance(pl_module, MultiTaskModule)
        logits: Mapping[str, Tensor] = outputs
        for task, sub_batch in batch.items():
            head = pl_module.model.head(task)
            examples = self.splits[task].examples.take(sub_batch.rows_B.tolist())
            gold = head.describe_labels(examples)
            found = head.describe(logits[task], sub_batch.first_BW, examples)
            for index, row, right, answer in zip(
                sub_batch.rows_B.tolist(), examples.rows, gold, found, strict=True
            ):
                if answer is not None:
                    self._rows[task][index] = {"row": row, "label": right, "prediction": answer}

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes one file a task, with the rows of all processes."""
        for task, rows in self._gathered(trainer).items():
            if rows:
                write_jsonl(self.folder / f"{task}.jsonl", [rows[index] for index in sorted(rows)])

    def _gathered(self, trainer: pl.Trainer) -> dict[str, dict[int, Any]]:
        """Everyone's rows, in the first process; nothing in the others."""
        if trainer.world_size == 1:
            return self._rows
        everyone: list[Any] = [None] * trainer.world_size
        torch.distributed.gather_object(self._rows, everyone if trainer.is_global_zero else None)
        found: dict[str, dict[int, Any]] = {}
        for rows in everyone if trainer.is_global_zero else []:
            for task in rows:
                found.setdefault(task, {}).update(rows[task])
        return found
