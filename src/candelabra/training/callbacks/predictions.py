"""Callback that writes the predictions for every test row to `predictions/<task>.jsonl`."""

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
    """Callback that collects predictions during a test and writes them at its end, in source order.

    Args:
        folder: Folder of the files `<task>.jsonl`.
        splits: Task name -> the split that is tested.
    """

    def __init__(self, folder: Path, splits: Mapping[str, TokenizedSplit]) -> None:
        self.folder = folder
        self.splits = dict(splits)
        self._rows: dict[str, dict[int, Any]] = {}

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard the predictions of an earlier test."""
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
        """Convert the logits of one batch to predictions."""
        assert isinstance(pl_module, MultiTaskModule)
        logits: Mapping[str, Tensor] = outputs
        for task, sub_batch in batch.items():
            head = pl_module.model.head(task)
            examples = self.splits[task].examples.take(sub_batch.rows_B.tolist())
            gold = head.describe_labels(examples)
            predictions = head.describe(logits[task], sub_batch.first_BW, examples)
            for index, row, label, prediction in zip(
                sub_batch.rows_B.tolist(), examples.rows, gold, predictions, strict=True
            ):
                if prediction is not None:
                    self._rows[task][index] = {"row": row, "label": label, "prediction": prediction}

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write one file for each task, with the rows of all processes."""
        for task, rows in self._gathered(trainer).items():
            if rows:
                write_jsonl(self.folder / f"{task}.jsonl", [rows[index] for index in sorted(rows)])

    def _gathered(self, trainer: pl.Trainer) -> dict[str, dict[int, Any]]:
        """Return the rows of all processes in the first process, and an empty dict elsewhere."""
        if trainer.world_size == 1:
            return self._rows
        from_ranks: list[Any] = [None] * trainer.world_size
        torch.distributed.gather_object(self._rows, from_ranks if trainer.is_global_zero else None)
        merged: dict[str, dict[int, Any]] = {}
        for rows in from_ranks if trainer.is_global_zero else []:
            for task in rows:
                merged.setdefault(task, {}).update(rows[task])
        return merged
