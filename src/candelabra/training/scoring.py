"""Evaluation half of the LightningModule: metrics of every task, and one score for all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from candelabra.errors import TrainingError
from candelabra.model.heads.base import Loss
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch


@dataclass(frozen=True)
class Objective:
    """Loss and metrics of a task.

    Attributes:
        loss: Function (logits, targets) -> loss summed over the units of the batch.
        loss_weight: Factor of the task's loss.
        metrics: Metrics updated with (predictions, labels); `compute()` returns a flat dict.
        main_metric: Key of `metrics` that enters the mean `val/score`.
    """

    loss: Loss
    loss_weight: float
    metrics: Metric | MetricCollection
    main_metric: str


class ScoredModule(pl.LightningModule):
    """LightningModule with the validation and test steps.

    Attributes:
        model: Encoder and heads.
        objectives: Task name -> its loss and metrics.
        scores: Task name -> main metric in the last validation.
        epoch_scores: Value of `scores` at the start of the epoch.
        start_scores: Main metrics of tasks with frozen heads before the first step.
    """

    model: MultiTaskModel
    objectives: dict[str, Objective]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scores: dict[str, float] = {}
        self.epoch_scores: dict[str, float] = {}
        self.start_scores: dict[str, float] = {}
        self._has_nan: dict[str, Tensor] = {}  # evaluated task -> whether any logit was NaN
        self._stored_scores: dict[str, float] = {}  # from the resumed checkpoint

    def validation_step(self, batches: Mapping[str, Batch], batch_idx: int) -> dict[str, Tensor]:
        """Update the metrics, and return the logits of every task for `PredictionWriter`."""
        logits = self.model(batches)
        for task, batch in batches.items():
            predictions = self.model.head(task).predictions(logits[task], batch)
            self.objectives[task].metrics.update(predictions, batch.labels)
            self._has_nan[task] = logits[task].isnan().any() | self._has_nan.get(task, False)
        return logits

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log `val/<task>/<metric>` and `val/score`."""
        self.scores = self._log_metrics("val")

    def on_train_epoch_end(self) -> None:
        """Keep the current scores, on which the sampling of the next epoch may depend."""
        self.epoch_scores = self.scores

    def on_test_epoch_end(self) -> None:
        """Log `test/<task>/<metric>` and `test/score`."""
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> dict[str, float]:
        """Log and reset all metrics, and return the main metric of each evaluated task."""
        main = {}
        evaluated = self._evaluated_on_any_rank()
        for task, objective in self.objectives.items():
            if task not in evaluated:
                continue
            computed = objective.metrics.compute()
            main[task] = float(computed[objective.main_metric])
            values = {f"{split}/{task}/{key}": float(v) for key, v in computed.items()}
            if split == "val" and task in self.start_scores:
                values[f"val/{task}/drift"] = main[task] - self.start_scores[task]
            # Loggers skip metrics of single entity types, which would fill dozens of charts.
            self.log_dict({key: v for key, v in values.items() if key.count("/") == 2})
            self.log_dict({key: v for key, v in values.items() if key.count("/") > 2}, logger=False)
            objective.metrics.reset()
        self._has_nan.clear()
        if main:
            self.log(f"{split}/score", math.fsum(main.values()) / len(main), prog_bar=True)
        return main

    def _evaluated_on_any_rank(self) -> set[str]:
        """Return the tasks with examples on any rank, since all ranks must sum the same metrics.

        Raises:
            TrainingError: If a logit is NaN; some metrics would rank NaN highest.
        """
        here = torch.zeros(2, len(self.objectives), dtype=torch.long, device=self.device)
        for place, task in enumerate(self.objectives):
            if task in self._has_nan:
                here[0, place], here[1, place] = 1, self._has_nan[task]
        anywhere = torch.as_tensor(self.trainer.strategy.reduce(here, reduce_op="sum"))
        evaluated, bad = (
            {task for task, count in zip(self.objectives, counts, strict=True) if count}
            for counts in anywhere.tolist()
        )
        if bad:
            raise TrainingError(
                f"the logits of {', '.join(sorted(bad))} contain NaN: the weights are damaged, or "
                "the precision does not suffice; no metrics were computed"
            )
        return evaluated

    def val_scores(self) -> dict[str, float]:
        """Return all metrics of the last validation, even if it ran before a resume."""
        return {**self._stored_scores, **scores_of(self.trainer, "val")}


def scores_of(trainer: pl.Trainer, split: str) -> dict[str, float]:
    """Return the latest metrics of a split, including those of single entity types.

    The return value of `trainer.test` lacks metrics that no logger receives.
    """
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {key: value for key, value in metrics.items() if key.startswith(f"{split}/")}
