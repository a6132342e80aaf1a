"""Train one model: the path from the configuration and the rows to the result, on one page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from omegaconf import DictConfig

from candelabra import tables
from candelabra.build.features import with_features
from candelabra.build.model import build_backbone, load_encoder, load_tokenizer
from candelabra.build.objectives import check_monitors, objectives
from candelabra.build.schedule import tokenize_tasks
from candelabra.config.messages import building
from candelabra.config.plain_form import plain
from candelabra.config.validation import training_tasks
from candelabra.data.loading import TaskData
from candelabra.data.module import MultiTaskDataModule
from candelabra.run import finish, parts
from candelabra.run.facts import machine_facts, row_counts
from candelabra.run.record import RunFolder
from candelabra.run.tables import model_table, tasks_table
from candelabra.training import drift
from candelabra.training.loggers.tracking import log_results, tracked
from candelabra.training.module import MultiTaskModule

if TYPE_CHECKING:
    from candelabra.run.resume import StoredRun


def train(
    cfg: DictConfig,
    data: Mapping[str, TaskData],
    record: RunFolder,
    *,
    resume: StoredRun | None = None,
) -> dict[str, float]:
    """Build the parts of a run, fit, test, and save the bundle.

    Args:
        cfg: A configuration that passed `validate`.
        data: The rows of each task.
        record: The run folder.
        resume: The run to resume; `None` starts a new run.

    Returns:
        The metrics, as in `metrics.json`.
    """
    device, precision, fingerprints = parts.begin(cfg, data, resume)
    labels = {name: task.labels for name, task in data.items()}
    counts = {name: task.counts for name, task in data.items()}
    trained = training_tasks(cfg.tasks)
    with building():
        backbone = build_backbone(cfg.encoder)
        tokenizer = load_tokenizer(backbone, cfg.encoder)
        splits = tokenize_tasks(data, tokenizer, cfg.paths.cache_dir, nodes=cfg.tasks)
        losses = objectives(cfg.tasks, labels, counts)
        check_monitors(parts.monitored_metrics(cfg), losses)
        schedule = parts.schedule_of(cfg, {name: splits[name]["train"] for name in trained}, losses)
        model = parts.model_of(cfg, load_encoder(backbone, cfg.encoder), labels, schedule)
        started = time.perf_counter()
        splits = with_features(splits, model, schedule, cfg, precision=precision, device=device)
        feature_seconds = time.perf_counter() - started
        datamodule = parts.datamodule_of(cfg, splits, schedule)
        teacher = parts.teacher_of(cfg, data, model, precision=precision, device=device)
        module = parts.module_of(cfg, model, losses, schedule, teacher, precision=precision)
        trainer = parts.trainer_of(cfg, record, precision=precision)
    tables.show(
        tasks_table(data, schedule), model_table(model, schedule.total_steps, device=device)
    )
    record.update(
        precision=precision,
        fingerprints=fingerprints,
        steps_per_epoch=schedule.steps_per_epoch,
        feature_seconds=round(feature_seconds, 3),
        **machine_facts(model, device, num_processes=trainer.world_size),
        **row_counts(data),
    )
    with tracked(trainer, plain(cfg), cfg.tasks):
        started = time.perf_counter()
        _fit(trainer, module, datamodule, None if resume is None else resume.checkpoint)
        record.update(**finish.fit_speed(trainer, module, time.perf_counter() - started))
        metrics = finish.restore_best(trainer, module)
        if cfg.test:
            metrics |= finish.test(trainer, module, datamodule, record.path)
        if trainer.is_global_zero:
            record.write_metrics(metrics)
            bundle = finish.bundle(parts.stored_config(cfg), model, tokenizer, labels, metrics)
            bundle.save(record.path / "bundle")
        # This comes after the results are written, so that a W&B that hangs cannot lose them.
        log_results(trainer, finish.media(record.path, metrics, data))
    tables.show(*tables.result_tables(metrics), f"run folder: {record.path}")
    return metrics


def _fit(
    trainer: pl.Trainer,
    module: MultiTaskModule,
    datamodule: MultiTaskDataModule,
    checkpoint: Path | None,
) -> None:
    """Fit the module, from the checkpoint of an interrupted run if one is given."""
    if checkpoint is None:
        drift.score_before(trainer, module, datamodule)
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
