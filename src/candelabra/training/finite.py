"""A loss that is no number: found, named, and kept out of the weights or the checkpoint."""

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
"""Stands among the tasks' names, where no task can be blamed."""


class FiniteLosses(pl.Callback):
    """Watches every task's loss and the gradient's norm.

    On a GPU a loss is not waited for: the first bad step is remembered there, and asked for when
    metrics are logged and before any checkpoint is written, so that the last one is good.

    Args:
        action: `stop` ends the run and names task, step and rows. `skip` leaves such a step out
            (neither weights nor the optimizer's state move), warns and counts it; every step then
            waits for its losses.

    Raises:
        ValueError: `action` is neither.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in ACTIONS:
            raise ValueError(f"callbacks.finite.action must be stop or skip, got {action!r}")
        self.action = action
        self.skipped = 0
        self._first: dict[str, Tensor] = {}

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Looks at the losses of one micro-batch."""
        assert isinstance(pl_module, MultiTaskModule)
        for task, value in pl_module.last_losses.items():
            self._look(task, value, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Looks at the norm that clipping found."""
        assert isinstance(pl_module, MultiTaskModule)
        norm = pl_module.last_grad_norm
        # float16's scaler meets infinite gradients as it goes, and leaves such steps out.
        if self.action == "stop" and norm is not None and _scaler(trainer) is None:
            self._look(GRADIENT, norm, trainer.global_step - 1)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Stops, or takes the step's gradients away, before the weights move."""
        if self.action == "skip":
            self._skip_if_bad(trainer, pl_module)
            return
        if not trainer.gradient_clip_val and _scaler(trainer) is None:
            self._look(GRADIENT, _norm(pl_module), trainer.global_step)
        if pl_module.device.type == "cpu" or trainer.global_step % _interval(trainer) == 0:
            self._stop_if_bad(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No bundle after a bad step."""
        self._stop_if_bad(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No weights are judged, or kept as the best, after a bad step."""
        self._stop_if_bad(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """No checkpoint after a bad step."""
        self._stop_if_bad(trainer)

    def _look(self, name: str, value: Tensor, step: int) -> None:
        first = self._first.get(name)
        if first is None:
            first = torch.full((), NEVER, device=value.device, dtype=torch.int64)
        bad = ~torch.isfinite(value).all()
        self._first[name] = torch.where(bad, first.clamp(max=step), first)

    def _bad(self) -> dict[str, int]:
        """The first bad step of each task that had one."""
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
            # float16's scaler leaves such a step out by itself, and needs the gradients to see it.
            if _scaler(trainer) is None:
                pl_module.zero_grad(set_to_none=True)
            self.skipped += 1
            for task, step in bad.items():
                _log.warning("%s. The step is left out.", _where(trainer, task, step))
        self._first.clear()
        pl_module.log("train/skipped_steps", float(self.skipped), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """The count of skipped steps."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.skipped = state_dict["skipped"]


def _scaler(trainer: pl.Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _norm(pl_module: pl.LightningModule) -> Tensor:
    grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)


def _interval(trainer: pl.Trainer) -> int:
    return max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]


def _where(trainer: pl.Trainer, task: str, step: int) -> str:
    """Names task, step and rows: the schedule knows what a step held."""
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
