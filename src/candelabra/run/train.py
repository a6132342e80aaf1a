"""Train one model: the one path from the configuration and the rows to the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from candelabra import hardware, tables
from candelabra.build.model import build_backbone, build_model
from candelabra.build.schedule import build_schedule, tokenize_tasks
from candelabra.build.trainer import build_module, build_trainer
from candelabra.bundle import transfer
from candelabra.config.messages import building
from candelabra.config.schema import plain
from candelabra.data.loading import TaskData
from candelabra.data.module import MultiTaskDataModule
from candelabra.quiet import quiet
from candelabra.run import finish
from candelabra.run.record import RunFolder
from candelabra.run.tables import model_table, tasks_table
from candelabra.training import drift
from candelabra.training.loggers.wandb_tracker import tracked

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
    quiet()
    hardware.keep_freed_memory(cfg.keep_memory)
    device = hardware.device_type(cfg.trainer.accelerator)
    fingerprints = fingerprints_of(cfg, data)
    labels = {name: task.labels for name, task in data.items()}
    with building():
        # A resumed run keeps its precision, even on a machine where `auto` gives another.
        requested = cfg.trainer.precision if resume is None else resume.record["precision"]
        precision = hardware.precision(requested, device)
        pl.seed_everything(cfg.seed, verbose=False)
        backbone = build_backbone(cfg.encoder)
        if resume is not None:
            resume.check_data(fingerprints)
        tokenizer = backbone.tokenizer()
        splits = tokenize_tasks(data, tokenizer, cfg.paths.cache_dir, nodes=cfg.tasks)
        schedule = build_schedule(cfg, splits)
        datamodule = MultiTaskDataModule(
            splits,
            schedule=schedule,
            eval_batch_size=cfg.eval_batch_size,
            num_workers=cfg.num_workers,
        )
        model = build_model(cfg, labels, backbone.load(), steps_per_epoch=schedule.steps_per_epoch)
        module = build_module(cfg, model, data, schedule.total_steps)
        module.configure_optimizers()  # raises for wrong settings before the fit starts
        trainer = build_trainer(cfg, precision=precision, run_dir=record.path, run_id=record.run_id)
    tables.show(
        tasks_table(data, schedule), model_table(model, schedule.total_steps, device=device)
    )
    record.update(
        device=device,
        precision=precision,
        threads=torch.get_num_threads(),
        processes=trainer.world_size,
        attention=model.encoder.attention_of(device, training=True),
        fingerprints=fingerprints,
        skipped={name: task.skipped for name, task in data.items()},
        unlabelled={name: task.unlabelled for name, task in data.items()},
        steps_per_epoch=schedule.steps_per_epoch,
    )

    config = plain(cfg)
    with tracked(trainer, config, cfg.tasks):
        started = time.perf_counter()
        checkpoint = None if resume is None else resume.checkpoint
        if resume is None:
            drift.score_before(trainer, module, datamodule)
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        record.update(**finish.pace(module, time.perf_counter() - started))
        metrics = finish.take_best(trainer, module)
        if cfg.test:
            metrics |= finish.test(trainer, module, datamodule, record.path)
        if trainer.is_global_zero:
            record.metrics(metrics)
            bundle = finish.bundle(config, model, tokenizer, labels, metrics)
            bundle.save(record.path / "bundle")
    tables.show(*tables.result_tables(metrics), f"run folder: {record.path}")
    return metrics


def fingerprints_of(cfg: DictConfig, data: Mapping[str, TaskData]) -> dict[str, dict[str, str]]:
    """Return the fingerprints of each task's rows, and of the bundle that `init_from` names."""
    fingerprints = {name: task.fingerprint for name, task in data.items()}
    if cfg.init_from is not None:
        fingerprints["init_from="] = transfer.fingerprint(cfg.init_from)
    return fingerprints
