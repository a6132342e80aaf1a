"""Attach to the splits of a run what the frozen part of its encoder gives for their texts."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from candelabra.build.frozen_encoding import SINGLE, FeatureStore, FrozenEncoding
from candelabra.build.instantiate import Node
from candelabra.build.schedule import TokenizedTasks
from candelabra.data.feature_files import FOLDER, FeatureFiles
from candelabra.data.mixing.schedule import Schedule
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import fixed_name
from candelabra.model.prefix import WHOLE, frozen_prefix

log = logging.getLogger(__name__)

TYPES: dict[str, np.dtype[Any]] = {"half": np.dtype(np.float16), "float32": SINGLE}
"""Values of the setting `feature_cache`."""
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16")
"""Precisions under which the encoder keeps its float32 weights."""


def with_features(
    splits: TokenizedTasks,
    model: MultiTaskModel,
    schedule: Schedule,
    cfg: DictConfig,
    *,
    precision: str,
    device: str,
) -> TokenizedTasks:
    """Return the splits with the features of the frozen part of the encoder, if there is one.

    They come from files. What exists in no file is computed if the run reads the whole split at
    least once before the part thaws.
    Tasks with a layer mix get none, because they need all layers.

    Args:
        splits: Tokenized splits of each task.
        model: Model with its initial weights, frozen as in the first step.
        schedule: Examples of every step.
        cfg: Configuration of the run.
        precision: Lightning's name of the precision.
        device: Type of the device, such as `cpu`.

    Returns:
        The splits; `model.encoder.prefix` is set if one of them has features.
    """
    if cfg.feature_cache is None or cfg.paths.cache_dir is None or precision not in PRECISIONS:
        return splits
    prefix = frozen_prefix(model)
    if prefix is None:
        return splits
    files = FeatureFiles(Path(cfg.paths.cache_dir) / FOLDER, cfg.paths.feature_cache_gb)
    store = FeatureStore(files, TYPES[cfg.feature_cache], precision, device)
    reads = _reads(splits, model, schedule, trainer=cfg.trainer, test=cfg.test)
    attached: TokenizedTasks = {task: dict(parts) for task, parts in splits.items()}
    for task in [task for task in splits if task not in model.mixes]:
        # A frozen head that is preserved reads the texts of other tasks with its own pooling.
        needs_tokens = prefix.depth != WHOLE or cfg.distill_frozen
        pooling = None if needs_tokens else _fixed_pooling(model, task)
        for name, split in splits[task].items():
            title = f"{task}.{name}"
            work = FrozenEncoding(store, model.encoder, prefix, split, pooling, title)
            try:
                features = work.features(compute=reads[task].get(name, 0) >= 1)
            except OSError as error:
                log.warning("the features of %s cannot be kept: %s", title, error)
                continue
            if features is not None:
                attached[task][name] = replace(split, features=features)
                model.encoder.prefix = prefix
    return attached


def _fixed_pooling(model: MultiTaskModel, task: str) -> str | None:
    """Return the name of the fixed pooling that is all that a task's head reads, or `None`."""
    return fixed_name(model.pooling_of(task)) if model.head(task).only_pools else None


def _reads(
    splits: TokenizedTasks, model: MultiTaskModel, schedule: Schedule, *, trainer: Node, test: bool
) -> dict[str, dict[str, float]]:
    """Return how often a run reads each split of each task before a part of the model thaws."""
    assert model.freezer is not None
    changes = list(model.freezer.thaws(model, schedule.total_steps))
    num_steps = changes[1] if len(changes) > 1 else schedule.total_steps
    # The number 1 is one batch, and 1.0 all of them.
    limits = {split: str(trainer[f"limit_{split}_batches"]) for split in ("val", "test")}
    whole = {split: limit in ("None", "1.0") for split, limit in limits.items()}
    tests = test and whole["test"] and num_steps == schedule.total_steps
    plan, per_epoch = schedule.plan(0), schedule.steps_per_epoch
    return {
        task: {
            "train": plan[task].drawn * num_steps / (per_epoch * len(parts["train"]))
            if task in plan
            else 0.0,
            "validation": num_steps / per_epoch if whole["val"] else 0.0,
            "test": float(tests),
        }
        for task, parts in splits.items()
    }
