"""Callback that compares the gradients of the tasks every few steps, layer by layer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch.optim import Optimizer

from candelabra.records import Batch
from candelabra.training.callbacks.gradient_map import conflict_shares, draw
from candelabra.training.gradient_noise import half_cosines, noise_of
from candelabra.training.internals import num_stepped_batches
from candelabra.training.module import MultiTaskModule
from candelabra.training.part_gradients import learning_parts
from candelabra.training.task_gradients import StepReport
from candelabra.training.teacher_gradients import teacher_report
from candelabra.weighting.end_of_step import ALL

_log = logging.getLogger(__name__)

Cosines = dict[str, float]
"""Cosines of one step by the names of what is compared and the part of the model."""


class GradientDiagnostics(pl.Callback):
    """Callback that compares the gradients of the shared parameters for every pair of tasks.

    For each part of the model (`embeddings`, `layer_1` and so on, `pooling`) and for `all`, logs
    under `gradients/<task>_vs_<task>/<part>/`:

    - `cosine`: cosine of the two gradients; 0 if either gradient is zero.
    - `norm_ratio`: norm of the first task's gradient divided by the second's.
    - `noise`: 95% of the cosines between two halves of one task's batch are smaller in size. It is
      the noise of the whole loss of a task, labels and teacher together.
    - `conflict`: 1 if the cosine is below `-noise`, else 0.
    - `conflict_share`: share of all comparisons so far whose cosine is below `-noise`.

    The same under `gradients/<task>_vs_its_teacher/<part>/` for the labels and the teacher of a
    task that has one, multiplied by their parts in its loss.

    For each task, logs under `losses/<task>/`:

    - `raw`: loss of the whole step, including the `distill_frozen` term.
    - `weight`: weight from the weighting times `loss_weight`.
    - `weighted`: product of the two.

    The gradients are those of the losses times `loss_weight`, summed over processes and
    micro-batches, before clipping. The values form a separate row of `metrics.csv`.

    A compared step runs one backward pass for each task, and one more forward and backward pass
    for the noise; for a task with a teacher another forward and two backward passes over the last
    micro-batch. It needs one float32 number for each task and trainable parameter. Its gradient
    equals that of a run without this callback up to rounding; all other steps are bitwise identical
    given the same weights. Steps with a single task are compared if it has a teacher, and have no
    `losses/`.

    Args:
        every_n_steps: Number of optimizer steps between comparisons, starting with the first step.
        path: File for the plot of all comparisons, drawn when training ends; `None` draws none.

    Attributes:
        looks: Optimizer step -> {`<task>_vs_<task>/<part>`: cosine}.
        halves: Optimizer step -> {`<task>/<part>`: cosine of two halves of the task's batch}.

    Raises:
        ValueError: If `every_n_steps` is below 1.
    """

    def __init__(self, *, every_n_steps: int = 50, path: str | Path | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be 1 or more, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.path = None if path is None else Path(path)
        self.looks: dict[int, Cosines] = {}
        self.halves: dict[int, Cosines] = {}
        self._batches: Mapping[str, Batch] = {}  # of the last micro-batch of a compared step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Request one backward pass for each task before the first forward pass of a step."""
        assert isinstance(pl_module, MultiTaskModule)
        one = trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)
        # Under other strategies (such as FSDP) a process holds only some of the parameters.
        pl_module.separate_tasks = one and trainer.global_step % self.every_n_steps == 0
        self._batches = batch if pl_module.separate_tasks else {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Record and log the comparison of this step; all processes log the same values."""
        assert isinstance(pl_module, MultiTaskModule)
        if not pl_module.separate_tasks:
            return
        report = pl_module.last_step
        joint = [report] if report is not None and len(report.tasks) > 1 else []
        learning = learning_parts(pl_module)
        taught = [
            teacher_report(pl_module, task, batch, learning)
            for task, batch in self._batches.items()
        ]
        shared = joint[0].grams.keys() - {ALL} if joint else set()
        parts = shared | learning if any(taught) else shared
        reports = [each for each in (*joint, *taught) if each is not None and is_finite(each)]
        if not reports:
            return
        self.halves[trainer.global_step] = half_cosines(pl_module, self._batches, parts)
        values: dict[str, float] = {}
        for each in reports:
            values |= compare_gradients(each, self.halves)
        self.looks[trainer.global_step] = {
            key.removesuffix("/cosine"): value
            for key, value in values.items()
            if key.endswith("/cosine")
        }
        shares = conflict_shares(self.looks, self.halves)
        values |= {f"{key}/conflict_share": share for key, share in shares.items()}
        row = {f"gradients/{key}": value for key, value in values.items()}
        for each in joint:
            row |= _losses_row(pl_module, each)
        for logger in trainer.loggers:
            # `self.log` would repeat these values in every row until the next comparison.
            logger.log_metrics(row, step=num_stepped_batches(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the plot if there are two or more comparisons and at least one has values."""
        drawn = len(self.looks) > 1 and any(self.looks.values())
        if self.path is None or not drawn or not trainer.is_global_zero:
            return
        try:
            draw(self.looks, self.halves, self.path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.path, error)

    def state_dict(self) -> dict[str, Any]:
        """Return all comparisons so far."""
        return {"looks": self.looks, "halves": self.halves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the comparisons of the interrupted run."""
        self.looks, self.halves = state_dict["looks"], state_dict["halves"]


def _losses_row(module: MultiTaskModule, report: StepReport) -> dict[str, float]:
    """Return the raw and weighted loss and the weight of each task, as logged."""
    row: dict[str, float] = {}
    for task, loss, weight in zip(report.tasks, report.losses, report.weights, strict=True):
        own = module.objectives[task].loss_weight
        row |= {
            f"losses/{task}/raw": float(loss) / own,
            f"losses/{task}/weight": float(weight) * own,
            f"losses/{task}/weighted": float(loss * weight),
        }
    return row


def is_finite(report: StepReport) -> bool:
    """Return whether all losses, weights and Gram matrices of the report are finite."""
    tensors = (report.losses, report.weights, *report.grams.values())
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def compare_gradients(
    report: StepReport, halves: Mapping[int, Cosines] | None = None
) -> dict[str, float]:
    """Compute the comparison of every pair of tasks in each part of the model.

    Args:
        report: Report of a step with two or more tasks.
        halves: Cosines of halves, as in `GradientDiagnostics`; without any, the noise is 0.

    Returns:
        `<task>_vs_<task>/<part>/<key>` -> value, with the keys `cosine`, `norm_ratio`, `noise` and
        `conflict`; empty if no shared parameter is trainable.
    """
    values: dict[str, float] = {}
    if not report.grams.keys() - {ALL}:
        return values  # no shared parameter is trainable
    for i, j in combinations(range(len(report.tasks)), 2):
        pair = (report.tasks[i], report.tasks[j])
        for part, gram_KK in report.grams.items():
            first, second = (math.sqrt(max(float(gram_KK[k, k]), 0.0)) for k in (i, j))
            product, both = float(gram_KK[i, j]), first * second
            cosine = min(max(product / both, -1.0), 1.0) if both > 0 else 0.0
            noise = noise_of(halves or {}, pair, part)
            values |= {
                f"{'_vs_'.join(pair)}/{part}/{key}": value
                for key, value in (
                    ("cosine", cosine),
                    ("norm_ratio", first / second if second > 0 else 0.0),
                    ("noise", noise),
                    ("conflict", float(cosine < -noise)),
                )
            }
    return values
