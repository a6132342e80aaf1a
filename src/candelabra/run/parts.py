"""Parts of a run, built from its configuration: `run.train` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from candelabra import hardware
from candelabra.build.model import adapt_and_freeze, build_model, load_initial_weights
from candelabra.build.objectives import build_weighting, check_objectives
from candelabra.build.pruning import searched_metrics
from candelabra.build.schedule import TokenizedTasks, build_schedule
from candelabra.build.teacher import build_teacher
from candelabra.build.trainer import build_loggers, build_module, build_trainer
from candelabra.bundle import transfer
from candelabra.bundle.checksums import CHECKSUMS, check_checksums
from candelabra.bundle.teachers import teacher_folders
from candelabra.config.environment import with_variables
from candelabra.config.plain_form import plain
from candelabra.config.schema import command_of
from candelabra.config.validation import training_tasks
from candelabra.data.collate import TokenizedSplit
from candelabra.data.loading import TaskData
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.module import MultiTaskDataModule
from candelabra.files import checksum
from candelabra.model.encoder import Encoder
from candelabra.model.multitask import MultiTaskModel
from candelabra.quiet import quiet
from candelabra.run.record import RunFolder
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import Objective
from candelabra.training.teaching import Teacher

if TYPE_CHECKING:
    from candelabra.run.resume import StoredRun


def begin(
    cfg: DictConfig, data: Mapping[str, TaskData], resume: StoredRun | None
) -> tuple[str, Any, dict[str, dict[str, str]]]:
    """Prepare this process for a run: messages, memory and seed.

    Returns:
        Type of the device, Lightning's name of the precision, and the fingerprints of the data.

    Raises:
        ConfigError: If the data differ from those of the run that is resumed.
    """
    quiet()
    hardware.keep_freed_memory(cfg.keep_memory)
    device = hardware.device_type(cfg.trainer.accelerator)
    pl.seed_everything(cfg.seed, verbose=False)
    return device, _precision(cfg, resume, device), _fingerprints(cfg, data, resume)


def stored_config(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration as it is stored in the bundle, with variables in the paths."""
    stored, raw = plain(cfg), OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    return {**stored, "tasks": with_variables(stored["tasks"], raw)}


def monitored_metrics(cfg: DictConfig) -> dict[str, str]:
    """Return the metrics that callbacks or a search monitor, by the keys that name them."""
    of_callbacks = {
        f"callbacks.{name}.monitor": node.monitor
        for name, node in cfg.callbacks.items()
        if node is not None and node.get("monitor") is not None
    }
    return {**of_callbacks, **searched_metrics()}


def _precision(cfg: DictConfig, resume: StoredRun | None, device: str) -> Any:
    """Return Lightning's name of the precision.

    A resumed run keeps its precision, even on a machine where `auto` gives another.
    """
    requested = cfg.trainer.precision if resume is None else resume.record["precision"]
    return hardware.precision(requested, device, key="trainer.precision")


def _fingerprints(
    cfg: DictConfig, data: Mapping[str, TaskData], resume: StoredRun | None
) -> dict[str, dict[str, str]]:
    """Return the fingerprints of each task's rows, and of the bundles that the run learns from.

    Raises:
        BundleError: If a file of a teacher is missing or damaged.
        ConfigError: If they differ from those of the run that is resumed.
    """
    fingerprints = {name: task.fingerprint for name, task in data.items()}
    if command_of(cfg) != "pretrain":  # which learns from texts alone
        if cfg.init_from is not None:
            fingerprints["init_from="] = transfer.fingerprint(cfg.init_from)
        teachers = teacher_folders(cfg.teacher, training_tasks(cfg.tasks))
        # All files are compared before the first teacher answers, which may take hours.
        for root in {root for root, _ in teachers.values()}:
            check_checksums(root)
        for task, (root, _) in teachers.items():
            fingerprints[f"teacher of {task}"] = {CHECKSUMS: checksum(root / CHECKSUMS)}
    if resume is not None:
        resume.check_data(fingerprints)
    return fingerprints


def schedule_of(
    cfg: DictConfig,
    train_splits: Mapping[str, TokenizedSplit],
    losses: Mapping[str, Objective],
) -> Schedule:
    """Build the schedule of the trained tasks."""
    return build_schedule(
        train_splits,
        losses,
        tasks=cfg.tasks,
        max_length=cfg.encoder.max_length,
        balancing=cfg.balancing,
        step=cfg.step,
        trainer=cfg.trainer,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
    )


def datamodule_of(
    cfg: DictConfig, splits: TokenizedTasks, schedule: Schedule
) -> MultiTaskDataModule:
    """Build the data module, which yields the batches of all splits."""
    return MultiTaskDataModule(
        splits,
        schedule=schedule,
        eval_batch_size=cfg.eval_batch_size,
        num_workers=cfg.num_workers,
    )


def model_of(
    cfg: DictConfig, encoder: Encoder, labels: Mapping[str, list[str]], schedule: Schedule
) -> MultiTaskModel:
    """Build the model with its initial weights, adapted and frozen as in the first step."""
    model = build_model(encoder, labels, pooling=cfg.pooling, tasks=cfg.tasks)
    load_initial_weights(
        model,
        labels,
        init_from=cfg.init_from,
        init_heads=cfg.init_heads,
        pooling=cfg.pooling,
        tasks=cfg.tasks,
    )
    adapt_and_freeze(
        model,
        adapter=cfg.adapter,
        freeze=cfg.freeze,
        steps_per_epoch=schedule.steps_per_epoch,
    )
    return model


def teacher_of(
    cfg: DictConfig,
    data: Mapping[str, TaskData],
    model: MultiTaskModel,
    *,
    precision: str,
    device: str,
) -> Teacher | None:
    """Let the teachers answer the training texts, if the run has any."""
    return build_teacher(
        cfg.distillation,
        cfg.teacher,
        data,
        model,
        trained=training_tasks(cfg.tasks),
        cache_dir=cfg.paths.cache_dir,
        precision=precision,
        device=device,
    )


def module_of(
    cfg: DictConfig,
    model: MultiTaskModel,
    losses: Mapping[str, Objective],
    schedule: Schedule,
    teacher: Teacher | None,
    *,
    precision: str,
) -> MultiTaskModule:
    """Build the LightningModule: the model with its losses, their weighting and the optimizer."""
    learns = list(schedule.sizes)
    accumulate = cfg.trainer.accumulate_grad_batches
    check_objectives(losses, model, tasks=cfg.tasks, learns=learns, accumulate=accumulate)
    weighting = build_weighting(
        cfg.weighting,
        model,
        learns,
        idle_heads=cfg.step.idle_heads,
        precision=precision,
        total_steps=schedule.total_steps,
    )
    return build_module(
        model,
        losses,
        weighting,
        optimizer=cfg.optimizer,
        scheduler=cfg.scheduler,
        total_steps=schedule.total_steps,
        seed=cfg.seed,
        distill_frozen=cfg.distill_frozen,
        teacher=teacher,
    )


def trainer_of(cfg: DictConfig, record: RunFolder, *, precision: str) -> pl.Trainer:
    """Build the Lightning trainer with the callbacks and loggers of the run."""
    loggers = build_loggers(
        cfg.logger,
        output_dir=cfg.paths.output_dir,
        run_dir=record.path,
        run_id=record.run_id,
        group=cfg.group,
        tags=cfg.tags,
    )
    return build_trainer(
        cfg.trainer,
        callbacks=cfg.callbacks,
        loggers=loggers,
        precision=precision,
        run_dir=record.path,
        command=command_of(cfg),
    )
