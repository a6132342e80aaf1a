"""What an evaluation of several tasks logs: each one's metrics, and one score of all."""

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
from candelabra.model.heads import Loss
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch


@dataclass(frozen=True)
class Objective:
    """What a task is trained and judged by.

    Attributes:
        loss: (logits, targets) -> the sum over the batch's units.
        loss_weight: How much the task's loss counts.
        metrics: Fed with (predictions, labels); `compute()` gives a flat dict.
        main_metric: The key of `metrics` that enters `val/score`.
    """

    loss: Loss
    loss_weight: float
    metrics: Metric | MetricCollection
    main_metric: str


class JudgedModule(pl.LightningModule):
    """The half of a module that validates and tests.

    Attributes:
        model: Encoder and heads.
        objectives: For each task its loss and metrics.
        scores: The main metrics of the last validation.
        epoch_scores: As they were where the epoch began.
        start_scores: Of frozen heads, before the first step.
    """

    model: MultiTaskModel
    objectives: dict[str, Objective]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scores: dict[str, float] = {}
        self.epoch_scores: dict[str, float] = {}
        self.start_scores: dict[str, float] = {}
        self._judged: dict[str, Tensor] = {}  # whether a logit of the task was NaN
        self._stored_scores: dict[str, float] = {}  # of the checkpoint that was resumed

    def validation_step(self, batches: Mapping[str, Batch], batch_idx: int) -> dict[str, Tensor]:
        """Updates the metrics; returns the logits for whoever writes predictions."""
        logits = self.model(batches)
        for task, batch in batches.items():
            predictions = self.model.head(task).decode(logits[task], batch.first_BW)
            self.objectives[task].metrics.update(predictions, batch.labels)
            self._judged[task] = logits[task].isnan().any() | self._judged.get(task, False)
        return logits

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Logs `val/<task>/<metric>` and `val/score`."""
        self.scores = self._log_metrics("val")

    def on_train_epoch_end(self) -> None:
        """The schedule's next epoch begins with the scores of now."""
        self.epoch_scores = self.scores

    def on_test_epoch_end(self) -> None:
        """Logs `test/<task>/<metric>` and `test/score`."""
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> dict[str, float]:
        """The main metric of each task that was judged."""
        main = {}
        judged = self._judged_anywhere()
        for task, objective in self.objectives.items():
            if task not in judged:
                continue
            found = objective.metrics.compute()
            main[task] = float(found[objective.main_metric])
            values = {f"{split}/{task}/{key}": float(v) for key, v in found.items()}
            if split == "val" and task in self.start_scores:
                values[f"val/{task}/drift"] = main[task] - self.start_scores[task]
            # Those of single entity types go into the final tables, not into dozens of charts.
            self.log_dict({key: v for key, v in values.items() if key.count("/") == 2})
            self.log_dict({key: v for key, v in values.items() if key.count("/") > 2}, logger=False)
            objective.metrics.reset()
        self._judged.clear()
        if main:
            self.log(f"{split}/score", math.fsum(main.values()) / len(main), prog_bar=True)
        return main

    def _judged_anywhere(self) -> set[str]:
        """Tasks with examples on any rank: all ranks have to sum the same metrics.

        Raises:
            TrainingError: A logit is NaN, which some metrics would take for the highest of all.
        """
        here = torch.zeros(2, len(self.objectives), dtype=torch.long, device=self.device)
        for place, task in enumerate(self.objectives):
            if task in self._judged:
                here[0, place], here[1, place] = 1, self._judged[task]
        anywhere = torch.as_tensor(self.trainer.strategy.reduce(here, reduce_op="sum"))
        judged, bad = (
            {task for task, count in zip(self.objectives, counts, strict=True) if count}
            for counts in anywhere.tolist()
        )
        if bad:
            raise TrainingError(
                f"the model's answers for {', '.join(sorted(bad))} are not all numbers (NaN): its "
                "weights are damaged, or the precision does not suffice; nothing was judged"
            )
        return judged

    def val_scores(self) -> dict[str, float]:
        """All metrics of the last validation, also where it was before a resume."""
        return {**self._stored_scores, **scores_of(self.trainer, "val")}


def scores_of(trainer: pl.Trainer, split: str) -> dict[str, float]:
    """All of a split's latest metrics; `trainer.test` leaves out those of single entity types."""
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {key: value for key, value in found.items() if key.startswith(f"{split}/")}
