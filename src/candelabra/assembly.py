"""Construction of all objects of a run from its configuration and data (a slow import)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from candelabra import build, hardware, transfer
from candelabra.data.loading import TaskData
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.schedule import Schedule
from candelabra.data.tokens import TextTokenizer
from candelabra.training.module import MultiTaskModule
from candelabra.training.run_folder import RunFolder

if TYPE_CHECKING:
    from candelabra.resuming import StoredRun


@dataclass(frozen=True)
class Parts:
    """Objects that make up a run.

    Attributes:
        device: Device type, such as `cpu`.
        precision: Lightning's name of the precision.
        fingerprints: Fingerprints of the data of each task, and of the bundle in `init_from`.
        tokenizer: Tokenizer of the encoder.
        labels: Task name -> label names.
        schedule: Schedule that selects the examples of every step.
        datamodule: Source of the batches.
        module: Model with losses, weighting and optimizer.
        trainer: Lightning trainer with callbacks and loggers.
    """

    device: str
    precision: str
    fingerprints: dict[str, dict[str, str]]
    tokenizer: TextTokenizer
    labels: dict[str, list[str]]
    schedule: Schedule
    datamodule: MultiTaskDataModule
    module: MultiTaskModule
    trainer: pl.Trainer

    def facts(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """Return the entries of `run.json` about these objects and the data.

        Args:
            data: Task name -> its data.
        """
        return {
            "device": self.device,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "processes": self.trainer.world_size,
            "fingerprints": self.fingerprints,
            "skipped": {name: task.skipped for name, task in data.items()},
            "unlabelled": {name: task.unlabelled for name, task in data.items()},
            "steps_per_epoch": self.schedule.steps_per_epoch,
        }


def run_parts(
    cfg: DictConfig, data: Mapping[str, TaskData], record: RunFolder, resume: StoredRun | None
) -> Parts:
    """Build all objects of a run, so that wrong settings fail before the first step.

    Args:
        cfg: Configuration that passed `validate`.
        data: Task name -> its data.
        record: Run folder.
        resume: Run to resume; `None` starts a new run.
    """
    device = hardware.device_type(cfg.trainer.accelerator)
    # A resumed run keeps its precision, even on a machine where `auto` gives another.
    requested = cfg.trainer.precision if resume is None else resume.record["precision"]
    precision = hardware.precision(requested, device)
    pl.seed_everything(cfg.seed, verbose=False)

    backbone = build.backbone(cfg.encoder)
    fingerprints = {name: task.fingerprint for name, task in data.items()}
    if cfg.init_from is not None:
        fingerprints["init_from="] = transfer.fingerprint(cfg.init_from)
    if resume is not None:
        resume.check_data(fingerprints)

    tokenizer = backbone.tokenizer()
    splits = build.tokenized_tasks(data, tokenizer, cfg.paths.cache_dir, nodes=cfg.tasks)
    schedule = build.schedule(cfg, splits)
    datamodule = MultiTaskDataModule(
        splits,
        schedule=schedule,
        eval_batch_size=cfg.eval_batch_size,
        num_workers=cfg.num_workers,
    )
    labels = {name: task.labels for name, task in data.items()}
    model = build.model(cfg, labels, backbone.load(), steps_per_epoch=schedule.steps_per_epoch)
    module = build.module(cfg, model, data, schedule.total_steps)
    module.configure_optimizers()  # raises for wrong settings before the fit starts
    trainer = build.trainer(cfg, precision=precision, record=record)
    return Parts(
        device, precision, fingerprints, tokenizer, labels, schedule, datamodule, module, trainer
    )
