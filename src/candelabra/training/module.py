"""LightningModule that trains and evaluates a `MultiTaskModel` with one optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from candelabra.errors import ConfigError
from candelabra.losses.reduction import part_of_mean
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch, Encoded
from candelabra.training import internals
from candelabra.training.axes import examples_axis
from candelabra.training.checkpoint_state import check_files, check_stored, move_files
from candelabra.training.frozen_copy import FrozenCopy
from candelabra.training.optim import OptimizerFactory, SchedulerFactory, linear
from candelabra.training.per_task_backward import TaskwiseModule
from candelabra.training.scoring import Objective, ScoredModule
from candelabra.training.teaching import Teacher
from candelabra.training.unfreezing import UnfreezingOptimizer, rewrap_ddp
from candelabra.weighting import Fixed
from candelabra.weighting.base import Weighting


class MultiTaskModule(TaskwiseModule, ScoredModule):
    """LightningModule that trains a `MultiTaskModel`.

    Args:
        model: Encoder and heads.
        objectives: Task name -> its loss and metrics.
        weighting: Combines the losses of the tasks into one scalar; by default their sum.
        optimizer: Function (model, weighting) -> optimizer; needed for training only.
        scheduler: Function (optimizer, total steps) -> learning-rate schedule; by default linear
            decay to 0.
        total_steps: Number of optimizer steps in the whole run; by default Lightning's estimate for
            its trainer.
        seed: Base seed; the randomness of step `t` depends only on (seed, t, rank).
        frozen_copy: Distillation term that preserves the outputs of frozen heads, if enabled.
        teacher: Answers of trained models that the heads learn from beside the labels, if any.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        objectives: Mapping[str, Objective],
        *,
        weighting: Weighting | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory = linear,
        total_steps: int | None = None,
        seed: int = 0,
        frozen_copy: FrozenCopy | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.frozen_copy = frozen_copy
        self.teacher = teacher
        self.objectives = dict(objectives)
        self.weighting = Fixed(list(self.objectives)) if weighting is None else weighting
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self._total_steps = total_steps
        self.seed = seed
        self.steps_done = 0
        self.examples_seen = dict.fromkeys(self.objectives, 0)
        self._in_step = dict.fromkeys(self.objectives, 0)  # examples in the current step
        self.session = {"examples": 0, "tokens": 0}  # counts since this process started
        self.last_losses: dict[str, Tensor] = {}
        self._holds: dict[str, Tensor] = {}  # distillation loss for each task's batch
        self._latest_losses: dict[str, Tensor | float] = {}  # includes tasks absent from the step
        self._latest_divergences: dict[str, Tensor | float] = {}  # from the teachers, likewise
        self.last_grad_norm: Tensor | None = None  # before clipping
        self._optimizer_is_new = False
        # Registered as submodules so that they move to the device with the module.
        self.metrics = nn.ModuleDict({task: o.metrics for task, o in self.objectives.items()})

    @property
    def total_steps(self) -> int:
        """Return the number of optimizer steps in the whole run."""
        if self._total_steps is None:
            return int(self.trainer.estimated_stepping_batches)
        return self._total_steps

    def build_optimizer(self) -> None:
        """Build the optimizer for the next fit, so that wrong settings are found before it.

        Raises:
            ConfigError: If the optimizer or its schedule rejects its settings, or no parameter is
                trainable.
        """
        assert self.optimizer_factory is not None
        self.unfreezing = UnfreezingOptimizer(
            self.model,
            self.weighting,
            make_optimizer=self.optimizer_factory,
            make_scheduler=self.scheduler_factory,
            total_steps=self.total_steps,
        )
        self._optimizer_is_new = True

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and a schedule that advances after every optimizer step."""
        if not self._optimizer_is_new:
            self.build_optimizer()
        self._optimizer_is_new = False  # a second fit starts with an optimizer of its own
        # A resumed run replays earlier thaws; `on_train_batch_start` handles the next step.
        for step in range(1, self.steps_done):
            self.unfreezing.step_to(step)
        return {
            "optimizer": self.unfreezing.optimizer,
            "lr_scheduler": {"scheduler": self.unfreezing.scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient norm of the model's parameters with PyTorch.

        Lightning refuses to clip with a fused optimizer under bf16. The parameters of the weighting
        are excluded, since their gradients would reduce the step of the model.

        Raises:
            ConfigError: If the clipping algorithm is not `norm`.
        """
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm not in (None, "norm"):
            raise ConfigError(
                f"trainer.gradient_clip_algorithm must be norm, got {gradient_clip_algorithm}"
            )
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # Under float16 a fused optimizer unscales only in its step, which is after clipping.
            scaler.unscale_(optimizer)
        self.last_grad_norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), gradient_clip_val
        )
        if self._writes_metrics():
            self.log("train/grad_norm", self.last_grad_norm, batch_size=1)

    def on_fit_start(self) -> None:
        """Enable training mode (`from_pretrained` returns a model in evaluation mode)."""
        self.model.train()
        self._review_features()  # the weights of a checkpoint may be loaded
        if self.frozen_copy is not None:
            self.frozen_copy.to(self.device)
        if self.teacher is not None:
            self.teacher.to(self.device)
        if self.steps_done:
            # DDP wrapped the module before `configure_optimizers` replayed the thaws.
            rewrap_ddp(self.trainer.strategy)

    def on_test_start(self) -> None:
        """Check whether stored features are those of the weights that are tested."""
        self._review_features()

    def _review_features(self) -> None:
        if self.model.encoder.prefix is not None:
            self.model.encoder.prefix.review(self.model)

    def on_train_batch_start(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """Apply the freeze schedule, and seed PyTorch from (seed, micro-batch, rank).

        With this seeding, a checkpoint needs no state of the random generators.
        """
        if self.unfreezing.step_to(self.steps_done):
            rewrap_ddp(self.trainer.strategy)
            self._review_features()
        parts = self.trainer.accumulate_grad_batches
        micro = batch_idx % parts
        at = self.steps_done * parts + micro
        seed = (self.seed * 1_000_003 + at) * 1_009 + self.global_rank
        self.begin_batch(batch, step=self.steps_done, micro=micro, seed=seed)
        torch.manual_seed(seed)

    def training_step(self, batches: Mapping[str, Batch], batch_idx: int) -> Tensor:
        """Return the combined loss of the tasks in the micro-batch."""
        self._in_step = {task: batch.num_examples for task, batch in batches.items()}
        losses = self.losses_of(batches)
        self.last_losses = {task: loss.detach() for task, loss in losses.items()}
        total = self.combined(self.weighted(losses))
        self._latest_losses.update(self.last_losses)
        if self._writes_metrics():
            self._log_step(total.detach())
        return total

    def losses_of(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Compute the loss of every task: this micro-batch's part of the global mean.

        With `shares_pass`, the encoder reads the texts of all tasks in one pass, if it can do that.
        """
        self._holds = {}
        readers = [] if self.frozen_copy is None else self.frozen_copy.heads
        alone = [{task: batch} for task, batch in batches.items()]
        encoded: dict[str, tuple[Encoded, ...]] = {}
        for group in [batches] if self.shares_pass else alone:
            encoded |= self.model.encode_tasks(group, readers)
        return {task: self._loss(task, batch, encoded.get(task)) for task, batch in batches.items()}

    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each loss times its `loss_weight`, plus the distillation loss of its batch."""
        return {
            task: loss * self.objectives[task].loss_weight + self._holds.get(task, 0.0)
            for task, loss in losses.items()
        }

    def _writes_metrics(self) -> bool:
        """Return whether loggers write this step; `self.log` costs milliseconds for each call."""
        return internals.writes_metrics(self.trainer) or self.trainer.global_step == 0

    def _log_step(self, total: Tensor) -> None:
        """Log the same keys in every step, even if the step contains a single task."""
        self.log("train/loss", total, prog_bar=True, batch_size=1)
        values: dict[str, Any] = {
            f"train/{task}/loss": loss for task, loss in self._latest_losses.items()
        }
        if self.weighting.moves:
            weights = self.weighting.weights()
            values |= {f"train/{task}/weight": weight for task, weight in weights.items()}
        if self.frozen_copy is not None:
            values["train/hold"] = sum(hold.detach() for hold in self._holds.values())
        for task, divergence in self._latest_divergences.items():
            values[f"train/{task}/divergence"] = divergence
        for task, seen in self.examples_seen.items():
            values[examples_axis(task)] = float(seen + self._in_step.get(task, 0))
        self.log_dict(values, batch_size=1)

    def _loss(self, task: str, batch: Batch, encoded: tuple[Encoded, ...] | None) -> Tensor:
        """Compute this micro-batch's part of the mean over the whole optimizer step.

        `part_of_mean` states the rule, which `Batch.num_units` follows.
        """
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        if encoded is None:
            logits = self.model.forward_task(task, batch)
        else:
            logits = self.model.apply_head(task, encoded, batch.first_BW)
        total = self.model.head(task).loss(self.objectives[task].loss, logits, batch)
        if self.frozen_copy is not None and encoded is not None:
            self._holds[task] = self.frozen_copy.loss(self.model, encoded, batch) * parts
        loss = part_of_mean(total, batch.num_units, parts=parts)
        if self.teacher is None or task not in self.teacher.answers:
            return loss
        divergence = self.teacher.divergence(task, self.model.head(task), logits, batch) * parts
        self._latest_divergences[task] = divergence.detach()
        return (1 - self.teacher.weight) * loss + self.teacher.weight * divergence

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the optimizer steps, examples and tokens of finished steps."""
        if self.trainer.global_step > self.steps_done:
            for task, sub_batch in batch.items():
                self.examples_seen[task] += sub_batch.num_examples
                self.session["examples"] += sub_batch.num_examples
                self.session["tokens"] += sub_batch.num_tokens
        self.steps_done = self.trainer.global_step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the progress and the latest scores in the checkpoint."""
        # Checkpoint callbacks may save before `on_train_batch_end` has counted this step.
        checkpoint["steps_done"] = self.trainer.global_step
        uncounted = self._in_step if self.trainer.global_step > self.steps_done else {}
        checkpoint["examples_seen"] = {
            task: seen + uncounted.get(task, 0) for task, seen in self.examples_seen.items()
        }
        checkpoint["losses"] = {task: float(loss) for task, loss in self._latest_losses.items()}
        checkpoint["divergences"] = {t: float(d) for t, d in self._latest_divergences.items()}
        checkpoint["main_scores"] = {
            "last": self.scores,
            "epoch": self.epoch_scores,
            "start": self.start_scores,
        }
        checkpoint["scores"] = self.val_scores()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the progress and the latest scores.

        Raises:
            TrainingError: If keys are missing, the weights belong to a different model, or a stored
                path lies outside of the run folder.
        """
        check_stored(checkpoint, self.state_dict(), path=self.trainer.ckpt_path)
        move_files(checkpoint, self.trainer.checkpoint_callbacks)
        check_files(checkpoint, self.trainer.checkpoint_callbacks)
        self.steps_done = checkpoint["steps_done"]
        self.examples_seen = checkpoint["examples_seen"]
        self._latest_losses = checkpoint["losses"]
        self._latest_divergences = checkpoint.get("divergences", {})  # not in older checkpoints
        self.scores = checkpoint["main_scores"]["last"]
        self.epoch_scores = checkpoint["main_scores"]["epoch"]
        self.start_scores = checkpoint["main_scores"]["start"]
        self._stored_scores = checkpoint["scores"]
