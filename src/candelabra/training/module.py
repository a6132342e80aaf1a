"""The LightningModule: losses of a step, metrics of an evaluation, one optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from candelabra.errors import ConfigError, TrainingError
from candelabra.model.heads import Loss
from candelabra.model.multitask import MultiTaskModel
from candelabra.objective.weighting.base import Weighting
from candelabra.records import Batch
from candelabra.training.axes import examples_axis
from candelabra.training.drift import FrozenCopy
from candelabra.training.optim import OptimizerFactory, SchedulerFactory
from candelabra.training.taskwise import TaskwiseModule
from candelabra.training.thawing import Thawing

OF_LIGHTNING = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
OF_THE_MODULE = ("steps_done", "examples_seen", "losses", "main_scores", "scores")
"""What is in every checkpoint that a run goes on from."""


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


class MultiTaskModule(TaskwiseModule):
    """Trains a `MultiTaskModel`.

    Args:
        model: Encoder and heads.
        objectives: For each task its loss and metrics.
        weighting: {task: loss} -> one loss.
        optimizer: (model, weighting) -> optimizer.
        scheduler: (optimizer, total steps) -> learning-rate schedule.
        total_steps: Optimizer steps in the whole run.
        seed: Randomness of step `t` comes from (seed, t, rank) alone.
        frozen_copy: Holds the answers of frozen heads.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        objectives: Mapping[str, Objective],
        *,
        weighting: Weighting | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        total_steps: int = 0,
        seed: int = 0,
        frozen_copy: FrozenCopy | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.frozen_copy = frozen_copy
        self.objectives = dict(objectives)
        self.weighting = weighting
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.total_steps = total_steps
        self.seed = seed
        self.steps_done = 0
        self.examples_seen = dict.fromkeys(self.objectives, 0)
        self._in_step = dict.fromkeys(self.objectives, 0)  # examples of the present step
        self.session = {"examples": 0, "tokens": 0}  # since this process started
        self.scores: dict[str, float] = {}  # the main metrics of the last validation
        self.epoch_scores: dict[str, float] = {}  # as they were where the epoch began
        self.start_scores: dict[str, float] = {}  # of frozen heads, before the first step
        self.last_losses: dict[str, Tensor] = {}
        self._latest_losses: dict[str, Tensor | float] = {}  # also of tasks the step leaves out
        self.last_grad_norm: Tensor | None = None  # before clipping
        self._judged: set[str] = set()
        self._stored_scores: dict[str, float] = {}  # of the checkpoint that was resumed
        # Registered, so that they move to the device with the module.
        self.metrics = nn.ModuleDict({task: o.metrics for task, o in self.objectives.items()})

    def configure_optimizers(self) -> Any:
        """One optimizer; its schedule moves with every optimizer step."""
        assert self.optimizer_factory is not None
        assert self.scheduler_factory is not None
        assert self.weighting is not None
        self.thawing = Thawing(
            self.model,
            self.weighting,
            make_optimizer=self.optimizer_factory,
            make_scheduler=self.scheduler_factory,
            total_steps=self.total_steps,
        )
        # Of a resumed run; the step that comes next is followed when it starts.
        for step in range(1, self.steps_done):
            self.thawing.follow(step)
        return {
            "optimizer": self.thawing.optimizer,
            "lr_scheduler": {"scheduler": self.thawing.scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm in torch: Lightning refuses to with a fused optimizer under bf16.

        The weighting's own parameters take no part: they would shrink the model's step.
        """
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm not in (None, "norm"):
            raise ConfigError(
                f"trainer.gradient_clip_algorithm must be norm, got {gradient_clip_algorithm}"
            )
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # float16: a fused optimizer would only divide the scale out in its own step.
            scaler.unscale_(optimizer)
        self.last_grad_norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), gradient_clip_val
        )
        if self._writes_metrics():
            self.log("train/grad_norm", self.last_grad_norm, batch_size=1)

    def on_fit_start(self) -> None:
        """Switches dropout on where nothing is frozen: `from_pretrained` leaves it off."""
        self.model.train()
        if self.frozen_copy is not None:
            self.frozen_copy.to(self.device)
        if self.steps_done:
            # A resumed run was wrapped before the optimizer followed its steps.
            self._wrap_anew()

    def on_train_batch_start(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """Lets learn what does from now on; seeds dropout from (seed, micro-batch, rank).

        No generator state has to be stored then.
        """
        if self.thawing.follow(self.steps_done):
            self._wrap_anew()
        parts = self.trainer.accumulate_grad_batches
        micro = batch_idx % parts
        at = self.steps_done * parts + micro
        seed = (self.seed * 1_000_003 + at) * 1_009 + self.global_rank
        self.begin_batch(batch, step=self.steps_done, micro=micro, seed=seed)
        torch.manual_seed(seed)

    def _wrap_anew(self) -> None:
        """DistributedDataParallel sums the gradients of what learnt when it wrapped the module."""
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            strategy.model = strategy.lightning_module
            strategy.configure_ddp()

    def training_step(self, batches: Mapping[str, Batch], batch_idx: int) -> Tensor:
        """Every task's loss at its own length, combined into one."""
        self._in_step = {task: batch.num_examples for task, batch in batches.items()}
        losses = self.losses_of(batches)
        self.last_losses = {task: loss.detach() for task, loss in losses.items()}
        total = self.combined(self.weighted(losses))
        self._latest_losses.update(self.last_losses)
        if self._writes_metrics():
            self._log_step(total.detach())
        return total

    def losses_of(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Each task's part of the global mean, from a pass of the model."""
        return {task: self._loss(task, batch) for task, batch in batches.items()}

    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each loss times its `loss_weight`."""
        return {task: loss * self.objectives[task].loss_weight for task, loss in losses.items()}

    def _writes_metrics(self) -> bool:
        """Whether this step is written: Lightning's `log` takes milliseconds of every call."""
        due = self.trainer._logger_connector.should_update_logs
        return due or self.trainer.global_step == 0

    def _log_step(self, total: Tensor) -> None:
        """The same keys in every step, also where a step carries one task."""
        assert self.weighting is not None
        self.log("train/loss", total, prog_bar=True, batch_size=1)
        values: dict[str, Any] = {
            f"train/{task}/loss": loss for task, loss in self._latest_losses.items()
        }
        if self.weighting.moves:
            weights = self.weighting.weights()
            values |= {f"train/{task}/weight": weight for task, weight in weights.items()}
        for task, seen in self.examples_seen.items():
            values[examples_axis(task)] = float(seen + self._in_step.get(task, 0))
        self.log_dict(values, batch_size=1)

    def _loss(self, task: str, batch: Batch) -> Tensor:
        """The loss' part of the global mean.

        Lightning divides by the micro-batches and DistributedDataParallel by the ranks; both are
        taken back, since `num_units` counts the whole optimizer step already.
        """
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        held = [] if self.frozen_copy is None else self.frozen_copy.heads
        encoded = self.model.encode(batch, [task, *held])
        logits = self.model.answer(task, encoded, batch.first_BW)
        loss = self.model.head(task).loss(self.objectives[task].loss, logits, batch)
        loss = loss / batch.num_units
        if self.frozen_copy is not None:
            loss = loss + self.frozen_copy.loss(self.model, encoded, batch)
        return loss * parts

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts optimizer steps; the schedule is asked for the next ones."""
        if self.trainer.global_step > self.steps_done:
            for task, sub_batch in batch.items():
                self.examples_seen[task] += sub_batch.num_examples
                self.session["examples"] += sub_batch.num_examples
                self.session["tokens"] += sub_batch.num_tokens
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
        """Tasks with examples on any rank: all ranks have to sum the same metrics."""
        here = torch.tensor([task in self._judged for task in self.objectives]).long()
        anywhere = self.trainer.strategy.reduce(here.to(self.device), reduce_op="sum")
        found = torch.as_tensor(anywhere).tolist()
        return {task for task, count in zip(self.objectives, found, strict=True) if count}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the progress and the latest scores beside the weights."""
        # A checkpoint callback saves before `on_train_batch_end` has counted here.
        checkpoint["steps_done"] = self.trainer.global_step
        uncounted = self._in_step if self.trainer.global_step > self.steps_done else {}
        checkpoint["examples_seen"] = {
            task: seen + uncounted.get(task, 0) for task, seen in self.examples_seen.items()
        }
        checkpoint["losses"] = {task: float(loss) for task, loss in self._latest_losses.items()}
        checkpoint["main_scores"] = {
            "last": self.scores,
            "epoch": self.epoch_scores,
            "start": self.start_scores,
        }
        checkpoint["scores"] = self.val_scores()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the progress up again.

        Raises:
            TrainingError: It is no checkpoint of a run, or its weights are those of another model.
        """
        missing = [key for key in (*OF_LIGHTNING, *OF_THE_MODULE) if key not in checkpoint]
        if missing:
            raise TrainingError(f"the checkpoint {self.trainer.ckpt_path} lacks {missing}")
        self._check_fits(checkpoint["state_dict"])
        self.steps_done = checkpoint["steps_done"]
        self.examples_seen = checkpoint["examples_seen"]
        self._latest_losses = checkpoint["losses"]
        self.scores = checkpoint["main_scores"]["last"]
        self.epoch_scores = checkpoint["main_scores"]["epoch"]
        self.start_scores = checkpoint["main_scores"]["start"]
        self._stored_scores = checkpoint["scores"]

    def _check_fits(self, theirs: Mapping[str, Tensor]) -> None:
        ours = self.state_dict()
        shapes = [{key: list(t.shape) for key, t in state.items()} for state in (ours, theirs)]
        for key in sorted(shapes[0].keys() | shapes[1].keys()):
            here, there = (found.get(key) for found in shapes)
            if here != there:
                raise TrainingError(
                    f"the checkpoint is of another model: {key} is {there or 'not'} there, and "
                    f"{here or 'not'} here"
                )

    def val_scores(self) -> dict[str, float]:
        """All metrics of the last validation, also where it was before a resume."""
        return {**self._stored_scores, **scores_of(self.trainer, "val")}


def scores_of(trainer: pl.Trainer, split: str) -> dict[str, float]:
    """All of a split's latest metrics; `trainer.test` leaves out those of single entity types."""
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {key: value for key, value in found.items() if key.startswith(f"{split}/")}
