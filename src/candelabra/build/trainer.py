"""Build the LightningModule and the trainer of a run.

The `_target_` of a config node names
a class or function; arguments that the config does not know (widths, labels, task names) are passed
here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger

from candelabra.build.objectives import checked_objectives
from candelabra.config.validation import learning
from candelabra.data.loading import TaskData
from candelabra.errors import ConfigError, naming
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO
from candelabra.training.callbacks.interruption import StopOnSignal
from candelabra.training.distillation import LwfTeacher
from candelabra.training.module import MultiTaskModule
from candelabra.training.task_gradients import check_possible

Node = Mapping[str, Any]


def build_module(
    cfg: Node, built: MultiTaskModel, data: Mapping[str, TaskData], total_steps: int
) -> MultiTaskModule:
    """Build the LightningModule of a training run.

    Raises:
        ConfigError: If a head does not fit the task's data, a loss does not fit its head, or the
            weighting is incompatible with the step, freeze option or precision.
    """
    judged = checked_objectives(cfg, built, data)
    with naming("weighting"):
        weighting = instantiate(cfg["weighting"])(
            tasks={name: built.head(name).num_choices for name in learning(cfg["tasks"])}
        )
        check_possible(
            weighting,
            built,
            idle_heads=cfg["step"]["idle_heads"],
            precision=cfg["trainer"]["precision"],
            total_steps=total_steps,
        )
    weight = cfg["distill_frozen"]
    for name in data:
        if weight and built.head(name).mini_batch_size is not None:
            raise ConfigError(
                f"tasks.{name}.head.mini_batch_size encodes a step in parts, and "
                "distill_frozen needs it whole: take head=embedding, or distill_frozen=0"
            )
    return MultiTaskModule(
        built,
        judged,
        weighting=weighting,
        optimizer=instantiate(cfg["optimizer"]),
        scheduler=instantiate(cfg["scheduler"]),
        total_steps=total_steps,
        seed=cfg["seed"],
        frozen_copy=LwfTeacher(built, weight=weight) if weight else None,
    )


def build_trainer(cfg: Node, *, precision: str, run_dir: Path, run_id: str) -> pl.Trainer:
    """Build the Lightning trainer with the run's callbacks and loggers."""
    callbacks = [instantiate(node) for node in cfg["callbacks"].values() if node is not None]
    callbacks.append(StopOnSignal(f"candelabra train resume={run_dir}"))
    loggers = [
        _logger(node, cfg, run_dir, run_id) for node in cfg["logger"].values() if node is not None
    ]
    return instantiate(
        cfg["trainer"],
        precision=precision,
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        limit_train_batches=1.0,  # The schedule has already applied the limit.
        enable_progress_bar=any(isinstance(item, ProgressBar) for item in callbacks),
        default_root_dir=str(run_dir),
    )


def _logger(node: Node, cfg: Node, run_dir: Path, run_id: str) -> Logger:
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        return made
    # Experiment trackers are partial and need the identity of the run.
    return made(
        save_dir=cfg["paths"]["output_dir"],
        run_dir=run_dir,
        name=run_dir.name,
        id=run_id,
        group=cfg["group"],
        job_type="train",
        tags=list(cfg["tags"]),
    )
