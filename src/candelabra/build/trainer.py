"""Build the LightningModule and the Lightning trainer of a run.

The `_target_` of a config node names a class or function. Arguments that the config does not know,
such as the folder of the run, are passed here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ProgressBar, Timer
from pytorch_lightning.loggers import Logger

from candelabra.build.instantiate import Node, make
from candelabra.build.pruning import pruning_callbacks
from candelabra.errors import ConfigError
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO
from candelabra.training.callbacks.interruption import StopOnSignal
from candelabra.training.frozen_copy import FrozenCopy
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import Objective
from candelabra.training.teaching import Teacher
from candelabra.weighting.base import Weighting


def build_module(
    model: MultiTaskModel,
    objectives: Mapping[str, Objective],
    weighting: Weighting,
    *,
    optimizer: Node,
    scheduler: Node,
    total_steps: int,
    seed: int,
    distill_frozen: float,
    teacher: Teacher | None = None,
) -> MultiTaskModule:
    """Build the LightningModule of a training run with its optimizer.

    Args:
        model: Model, frozen as in the first step.
        objectives: Objective of each task.
        weighting: Weighting of the losses.
        optimizer: Config node of the optimizer.
        scheduler: Config node of the learning-rate schedule.
        total_steps: Number of optimizer steps in the run.
        seed: Base seed of the steps.
        distill_frozen: Factor of the distillation loss; 0 disables distillation.
        teacher: Answers of trained models that the heads learn from, if any.

    Raises:
        ConfigError: If the optimizer or the schedule rejects its settings, nothing is left to
            train, or a head encodes a step in parts although distillation needs it whole.
    """
    module = MultiTaskModule(
        model,
        objectives,
        weighting=weighting,
        optimizer=make(optimizer, "optimizer"),
        scheduler=make(scheduler, "scheduler"),
        total_steps=total_steps,
        seed=seed,
        frozen_copy=_frozen_copy(model, distill_frozen) if distill_frozen else None,
        teacher=teacher,
    )
    module.build_optimizer()
    return module


def _frozen_copy(model: MultiTaskModel, weight: float) -> FrozenCopy:
    """Build the distillation term, which needs every step as a whole."""
    for name in model.heads:
        if model.head(name).mini_batch_size is not None:
            raise ConfigError(
                f"tasks.{name}.head.mini_batch_size encodes a step in parts, and "
                "distill_frozen needs it whole: take head=embedding, or distill_frozen=0"
            )
    return FrozenCopy(model, weight=weight)


def build_loggers(
    nodes: Mapping[str, Node | None],
    *,
    output_dir: str,
    run_dir: Path,
    run_id: str,
    group: str | None,
    tags: Sequence[str],
) -> list[Logger]:
    """Build the loggers of a run.

    Args:
        nodes: Config node of each logger; `None` disables it.
        output_dir: Folder of all runs.
        run_dir: Folder of this run.
        run_id: Id of the run, which a resumed run keeps.
        group: Name of the runs that belong together.
        tags: Words to find the run by.
    """
    loggers = [make(node, f"logger.{key}") for key, node in nodes.items() if node is not None]
    # Experiment trackers are partial and need the identity of the run.
    return [
        logger(
            save_dir=output_dir,
            run_dir=run_dir,
            name=run_dir.name,
            id=run_id,
            group=group,
            job_type="train",
            tags=list(tags),
        )
        if isinstance(logger, functools.partial)
        else logger
        for logger in loggers
    ]


def build_trainer(
    node: Node,
    *,
    callbacks: Mapping[str, Node | None],
    loggers: Sequence[Logger],
    precision: str,
    run_dir: Path,
    command: str = "train",
) -> pl.Trainer:
    """Build the Lightning trainer with the run's callbacks and loggers.

    Args:
        node: Config node of the trainer.
        callbacks: Config node of each callback; `None` disables it.
        loggers: Loggers of the run.
        precision: Lightning's name of the precision.
        run_dir: Folder of the run.
        command: Name of the command that resumes the run.
    """
    built = [
        make(callback, f"callbacks.{name}")
        for name, callback in callbacks.items()
        if callback is not None
    ]
    built += pruning_callbacks()
    # Lightning refuses two timers, and the user's own counts as well.
    if not any(isinstance(callback, Timer) for callback in built):
        built.append(Timer())
    built.append(StopOnSignal(f"candelabra {command} resume={run_dir}"))
    return instantiate(
        node,
        precision=precision,
        callbacks=built,
        logger=list(loggers) or False,
        plugins=[AtomicCheckpointIO()],
        limit_train_batches=1.0,  # The schedule has already applied the limit.
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in built),
        default_root_dir=str(run_dir),
    )
