"""The LightningModule: losses of a step, metrics of an evaluation, one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch
from candelabra.training.optim import OptimizerFactory, SchedulerFactory

Loss = Callable[[Tensor, Tensor], Tensor]


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


class MultiTaskModule(pl.LightningModule):
    """Trains a `MultiTaskModel`.

    Args:
        model: Encoder and heads.
        objectives: For each task its loss and metrics.
        weighting: {task: loss} -> one loss.
        optimizer: (model, weighting) -> optimizer.
        scheduler: (optimizer, total steps) -> learning-rate schedule.
        total_steps: Optimizer steps in the whole run.
        seed: Randomness of step `t` comes from (seed, t, rank) alone.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        objectives: Mapping[str, Objective],
        *,
        weighting: nn.Module | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        total_steps: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.objectives = dict(objectives)
        self.weighting = weighting
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.total_steps = total_steps
        self.seed = seed
        self.steps_done = 0
        self._judged: set[str] = set()
        # Registered, so that they move to the device with the module.
        self.metrics = nn.ModuleDict({task: o.metrics for task, o in self.objectives.items()})

    def configure_optimizers(self) -> Any:
        """One optimizer; its schedule moves with every optimizer step."""
        assert self.optimizer_factory is not None
        assert self.scheduler_factory is not None
        assert self.weighting is not None
        optimizer = self.optimizer_factory(self.model, self.weighting)
        scheduler = self.scheduler_factory(optimizer, self.total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm in torch: Lightning refuses to with a fused optimizer under bf16."""
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_fit_start(self) -> None:
        """Freezes, and switches dropout on: `from_pretrained` leaves a model in eval mode."""
        self.model.train()

    def on_train_batch_start(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """Seeds dropout from (seed, micro-batch, rank), so that no generator state is stored."""
        micro = self.steps_done * self.trainer.accumulate_grad_batches + (
            batch_idx % self.trainer.accumulate_grad_batches
        )
        torch.manual_seed((self.seed * 1_000_003 + micro) * 1_009 + self.global_rank)

    def training_step(self, batches: Mapping[str, Batch], batch_idx: int) -> Tensor:
        """Every task's loss at its own length, combined into one."""
        assert self.weighting is not None
        logits = self.model(batches)
        losses = {task: self._loss(task, logits[task], batch) for task, batch in batches.items()}
        total = self.weighting(
            {task: loss * self.objectives[task].loss_weight for task, loss in losses.items()}
        )
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=1)
        self.log_dict(
            {f"train/{task}/loss": loss.detach() for task, loss in losses.items()}, batch_size=1
        )
        return total

    def _loss(self, task: str, logits: Tensor, batch: Batch) -> Tensor:
        """The loss' part of the global mean.

        Lightning divides by the micro-batches and DistributedDataParallel by the ranks; both are
        taken back, since `num_units` counts the whole optimizer step already.
        """
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return self.objectives[task].loss(logits, batch.targets) * (parts / batch.num_units)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts optimizer steps; the schedule is asked for the next ones."""
        self.steps_done = self.trainer.global_step

    def validation_step(self, batches: Mapping[str, Batch], batch_idx: int) -> dict[str, Tensor]:
        """Updates the metrics; returns the logits for whoever writes predictions."""
        logits = self.model(batches)
        for task, batch in batches.items():
            predictions = self.model.head(task).decode(logits[task], batch.first_BW)
            self.objectives[task].metrics.update(predictions, batch.labels)
            self._judged.add(task)
        return logits

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Logs `val/<task>/<metric>` and `val/score`."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs `test/<task>/<metric>` and `test/score`."""
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        main = []
        for task, objective in self.objectives.items():
            if task not in self._judged:
                continue
            found = objective.metrics.compute()
            main.append(torch.as_tensor(found[objective.main_metric]).float())
            self.log_dict({f"{split}/{task}/{key}": float(v) for key, v in found.items()})
            objective.metrics.reset()
        self._judged.clear()
        if main:
            self.log(f"{split}/score", torch.stack(main).mean(), prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the progress and the latest scores beside the weights."""
        checkpoint["steps_done"] = self.steps_done
        checkpoint["scores"] = {
            key: float(value)
            for key, value in self.trainer.callback_metrics.items()
            if key.startswith("val/")
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the progress up again."""
        self.steps_done = checkpoint["steps_done"]
