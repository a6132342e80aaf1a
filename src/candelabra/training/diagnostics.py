"""Do the tasks pull the encoder the same way? Looked at every few steps, layer by layer."""

from __future__ import annotations

import logging
import math
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch.optim import Optimizer

from candelabra.objective.weighting.step import ALL
from candelabra.training.gradient_map import draw
from candelabra.training.module import MultiTaskModule
from candelabra.training.task_gradients import StepReport

_log = logging.getLogger(__name__)

Look = dict[str, float]
"""`<task>_vs_<task>/<part>` -> the cosine of two tasks' gradients in a part of the model."""


class GradientDiagnostics(pl.Callback):
    """Compares the gradients of every two tasks in what they share.

    Logs, of each part of the model (`embeddings`, `layer_1` and so on, `pooling`) and of `all`,
    under `gradients/<task>_vs_<task>/<part>/`: the `cosine` (0 where a gradient is zero), the
    `norm_ratio` of the first to the second task, `conflict` (1 where the cosine is below 0), and
    `conflict_share`, the part of all looks so far that found one. And under `losses/<task>/`: the
    `raw` loss of the whole step (with what `distill_frozen` adds), its `weight` (what the weighting
    gave, times `loss_weight`), and `weighted`, their product. Gradients are those of the losses
    times their `loss_weight`, over all processes and micro-batches, before clipping. A row of its
    own in `metrics.csv`.

    A step that is looked at runs a backward pass for each task, which costs no more than one for
    all, and holds a float32 number for each task and learning parameter. Its gradient differs from
    that of the same step in a run without this callback by rounding; all other steps are the same
    to the bit from the same weights. Steps with one task are not looked at.

    Args:
        every_n_steps: Optimizer steps from one look to the next; the first step is looked at.
        path: Where the map of all looks is drawn when training ends; None draws none.

    Raises:
        ValueError: `every_n_steps` is below 1.
    """

    def __init__(self, *, every_n_steps: int = 50, path: str | Path | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(
                f"callbacks.gradients.every_n_steps must be 1 or more; found {every_n_steps}"
            )
        self.every_n_steps = every_n_steps
        self.path = None if path is None else Path(path)
        self.looks: dict[int, Look] = {}
        self._num: Counter[str] = Counter()  # looks at a pair and part
        self._conflicts: Counter[str] = Counter()  # those that found a cosine below 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Asks for a step apart, before its first forward pass."""
        assert isinstance(pl_module, MultiTaskModule)
        one = trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)
        # Other strategies keep a part of the parameters only.
        pl_module.tell_apart = one and trainer.global_step % self.every_n_steps == 0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Keeps and logs what the step showed; the same in every process."""
        assert isinstance(pl_module, MultiTaskModule)
        report = pl_module.last_step
        due = pl_module.tell_apart and report is not None and len(report.tasks) > 1
        if not due or report is None or not is_finite(report):
            return
        found = compared(report)
        look = {
            key.removesuffix("/cosine"): value
            for key, value in found.items()
            if key.endswith("/cosine")
        }
        self.looks[trainer.global_step] = look
        self._count(look)
        shares = {f"{key}/conflict_share": share for key, share in self.conflict_shares().items()}
        row = {f"gradients/{key}": value for key, value in {**found, **shares}.items()}
        for task, loss, weight in zip(report.tasks, report.losses, report.weights, strict=True):
            own = pl_module.objectives[task].loss_weight
            row |= {
                f"losses/{task}/raw": float(loss) / own,
                f"losses/{task}/weight": float(weight) * own,
                f"losses/{task}/weighted": float(loss * weight),
            }
        for logger in trainer.loggers:
            # Lightning's own rows would repeat the values until the next look.
            logger.log_metrics(row, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the map; one look alone makes none, nor do looks that found nothing to compare."""
        drawn = len(self.looks) > 1 and any(self.looks.values())
        if self.path is None or not drawn or not trainer.is_global_zero:
            return
        try:
            draw(self.looks, self.path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.path, error)

    def state_dict(self) -> dict[str, Any]:
        """All looks so far."""
        return {"looks": self.looks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the looks of the interrupted run."""
        self.looks = state_dict["looks"]
        for look in self.looks.values():
            self._count(look)

    def conflict_shares(self) -> dict[str, float]:
        """For each pair and part the share of its looks that found a cosine below 0."""
        return {key: self._conflicts[key] / num for key, num in self._num.items()}

    def _count(self, look: Look) -> None:
        self._num.update(look.keys())
        self._conflicts.update(key for key, cosine in look.items() if cosine < 0)


def is_finite(report: StepReport) -> bool:
    """Whether everything in it is a finite number."""
    found = (report.losses, report.weights, *report.grams.values())
    return all(bool(tensor.isfinite().all()) for tensor in found)


def compared(report: StepReport) -> dict[str, float]:
    """`<task>_vs_<task>/<part>/` with `cosine`, `norm_ratio`, `conflict` of a step.

    Args:
        report: Of two or more tasks.
    """
    found: dict[str, float] = {}
    if not report.grams.keys() - {ALL}:
        return found  # nothing that the tasks share learns
    for i, j in combinations(range(len(report.tasks)), 2):
        for part, gram_KK in report.grams.items():
            first, second = (math.sqrt(max(float(gram_KK[k, k]), 0.0)) for k in (i, j))
            product, both = float(gram_KK[i, j]), first * second
            cosine = min(max(product / both, -1.0), 1.0) if both > 0 else 0.0
            found |= {
                f"{report.tasks[i]}_vs_{report.tasks[j]}/{part}/{key}": value
                for key, value in (
                    ("cosine", cosine),
                    ("norm_ratio", first / second if second > 0 else 0.0),
                    ("conflict", float(cosine < 0)),
                )
            }
    return found
