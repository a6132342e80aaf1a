"""Callback that detects losses and gradients that are not finite, and stops or skips."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from candelabra.data.module import MultiTaskDataModule
from candelabra.errors import TrainingError
from candelabra.training.module import MultiTaskModule

_log = logging.getLogger(__name__)
ACTIONS = ("stop", "skip")
NEVER = 2**62
GRADIENT = "the gradient"
"""Key used instead of a task name when the gradient is bad but all losses are finite."""


class NonFiniteGuard(pl.Callback):
    """Callback that checks that every task's loss and the gradient norm are finite.

    To avoid a device synchronisation in every step, the first bad step is kept on the device. It is
    read when metrics are logged and before any checkpoint is written, so that every checkpoint has
    finite weights.

    Args:
        action: `stop` ends the run with an error that names task, step and rows. `skip` drops the
            update of a bad step (weights and optimizer state stay the same), warns and counts it;
            this synchronises with the device in every step.

    Raises:
        ValueError: If `action` is neither `stop` nor `skip`.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in ACTIONS:
            raise ValueError(f"action must be stop or skip, got {action!r}")
        self.action = action
        self.skipped = 0
        self._first: dict[str, Tensor] = {}

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Check the losses of one micro-batch."""
        assert isinstance(pl_module, MultiTaskModule)
        for task, value in pl_module.last_losses.items():
            self._look(task, value, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Check the gradient norm that clipping computed."""
        assert isinstance(pl_module, MultiTaskModule)
        norm = pl_module.last_grad_norm
        # The float16 gradient scaler expects infinite gradients and skips such steps itself.
        if self.action == "stop" and norm is not None and _scaler(trainer) is None:
            self._look(GRADIENT, norm, trainer.global_step - 1)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Stop, or discard the gradients of a bad step, before the weights change."""
        if self.action == "skip":
            self._skip_if_bad(trainer, pl_module)
            return
        if not trainer.gradient_clip_val and _scaler(trainer) is None:
            self._look(GRADIENT, _norm(pl_module), trainer.global_step)
        if pl_module.device.type == "cpu" or trainer.global_step % _interval(trainer) == 0:
            self._stop_if_bad(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after a bad step, before a bundle is written."""
        self._stop_if_bad(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after a bad step, before the weights are evaluated or kept as the best."""
        self._stop_if_bad(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stop after a bad step, before a checkpoint is written."""
        self._stop_if_bad(trainer)

    def _look(self, name: str, value: Tensor, step: int) -> None:
        first = self._first.get(name)
        if first is None:
            first = torch.full((), NEVER, device=value.device, dtype=torch.int64)
        bad = ~torch.isfinite(value).all()
        self._first[name] = torch.where(bad, first.clamp(max=step), first)

    def _bad(self) -> dict[str, int]:
        """Return the first bad step of each task that has one."""
        steps = {task: int(first) for task, first in self._first.items()}
        return {task: step for task, step in steps.items() if step != NEVER}

    def _stop_if_bad(self, trainer: pl.Trainer) -> None:
        bad = self._bad()
        if bad:
            task = min(bad, key=bad.__getitem__)  # ties: a task comes before the gradient
            raise TrainingError(
                f"{_where(trainer, task, bad[task])}. The checkpoints written before are good. "
                "Lower optimizer.lr, look at these rows, or leave such steps out: "
                "callbacks.finite.action=skip"
            )

    def _skip_if_bad(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(GRADIENT, _norm(pl_module), trainer.global_step)
        bad = self._bad()
        if trainer.strategy.reduce_boolean_decision(bool(bad), all=False):
            # The float16 gradient scaler skips bad steps itself, and detects them by the gradients.
            if _scaler(trainer) is None:
                pl_module.zero_grad(set_to_none=True)
            self.skipped += 1
            # A loss that is not finite makes the gradient so, too.
            for task in sorted(bad.keys() - {GRADIENT}) or bad:
                _log.warning("%s. The step is left out.", _where(trainer, task, bad[task]))
        self._first.clear()
        pl_module.log("train/skipped_steps", float(self.skipped), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped = state_dict["skipped"]


def _scaler(trainer: pl.Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _norm(pl_module: pl.LightningModule) -> Tensor:
    grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)


def _interval(trainer: pl.Trainer) -> int:
    return max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]


def _where(trainer: pl.Trainer, task: str, step: int) -> str:
    """Describe task, step and rows; the schedule can recompute the rows of a step."""
    if task == GRADIENT:
        return f"the gradient is not finite in step {step + 1}, with finite losses"
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, MultiTaskModule)
    assert isinstance(data, MultiTaskDataModule)
    assert data.schedule is not None
    indices = data.schedule.batch(step, module.epoch_scores)[task]
    source = data.split("train")[task].examples.rows
    rows = sorted(source[index] for index in indices)
    return (
        f"the loss of task '{task}' is not a finite number in step {step + 1}, "
        f"with rows {', '.join(map(str, rows))} of its training data"
    )
