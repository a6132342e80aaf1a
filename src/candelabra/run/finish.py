"""Steps after a fit: restore the best weights, test them, and make a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, Timer

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.config import BundleConfig
from candelabra.data.loading import TaskData
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.tokens import TextTokenizer
from candelabra.model.adapters import merge
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.callbacks.checkpoints import read_checkpoint
from candelabra.training.callbacks.predictions import PredictionWriter
from candelabra.training.loggers.run_media import RunMedia
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import scores_of

SCORE = "val/score"


def fit_speed(trainer: pl.Trainer, module: MultiTaskModule, seconds: float) -> dict[str, float]:
    """Return steps, duration and throughput of the fit.

    Args:
        trainer: Trainer after the fit.
        module: Module after the fit.
        seconds: Duration of the fit in this process, including validations.

    Returns:
        `steps` and `fit_seconds` of the whole run, without steps that an interruption lost;
        `examples_per_second` and `tokens_per_second` since this process started.
    """
    rates = {f"{key}_per_second": round(n / seconds, 3) for key, n in module.session.items()}
    # A timer is part of the checkpoint, and goes on where it was.
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it untyped.
    timer = next(each for each in callbacks if isinstance(each, Timer))
    return {"steps": module.steps_done, "fit_seconds": round(timer.time_elapsed(), 3), **rates}


def restore_best(trainer: pl.Trainer, module: MultiTaskModule) -> dict[str, float]:
    """Load the weights with the best `val/score` into the module.

    The module keeps its last weights if no checkpoint callback monitored the score.

    Args:
        trainer: Trainer after its fit.
        module: Module that receives the weights.

    Returns:
        `val/...` metrics of the weights that the module has afterwards.
    """
    best = best_checkpoint(trainer)
    if best is None:
        return module.val_scores()
    checkpoint = read_checkpoint(best, map_location="cpu")
    module.load_state_dict(checkpoint["state_dict"])
    scores: dict[str, float] = checkpoint["scores"]
    return scores


def test(
    trainer: pl.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, folder: Path
) -> dict[str, float]:
    """Test the current weights, and write the predictions.

    Args:
        trainer: Trainer after its fit.
        module: Module with the weights to test.
        data: Data module; tasks without a test split are skipped.
        folder: Run folder, in which `predictions/` is written.

    Returns:
        `test/...` metrics; empty if no task has a test split.
    """
    tested = data.split("test")
    if not tested:
        return {}
    trainer.callbacks.append(PredictionWriter(folder / "predictions", tested))  # type: ignore[attr-defined]
    trainer.test(module, datamodule=data, verbose=False, weights_only=True)
    return scores_of(trainer, "test")


def media(folder: Path, metrics: Mapping[str, float], data: Mapping[str, TaskData]) -> RunMedia:
    """Return the tables, charts and pictures of a finished run for W&B.

    Args:
        folder: Run folder with the predictions and the pictures.
        metrics: Metrics of the run.
        data: The rows of each task.
    """
    tests = {name: task.splits["test"] for name, task in data.items() if "test" in task.splits}
    return RunMedia(folder, metrics, tests)


def best_checkpoint(trainer: pl.Trainer) -> Path | None:
    """Return the best checkpoint by `val/score`, or `None` if no callback kept one."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor == SCORE:
            return Path(callback.best_model_path) if callback.best_model_path else None
    return None


def bundle(
    config: Mapping[str, Any],
    model: MultiTaskModel,
    tokenizer: TextTokenizer,
    labels: dict[str, list[str]],
    metrics: dict[str, float],
) -> Bundle:
    """Make a bundle of the trained model; this changes the model in place.

    The model is set to evaluation mode, and an adapter that all tasks share is merged into the
    encoder.

    Args:
        config: Configuration of the run as plain Python values.
        model: Trained model.
        tokenizer: Tokenizer of the encoder.
        labels: Task name -> label names.
        metrics: Metrics for the model card.
    """
    limits = {split: config["trainer"][f"limit_{split}_batches"] for split in ("val", "test")}
    # The model card must mark scores of limited splits. Note that 1 is one batch and 1.0 is all.
    limited = {split: part for split, part in limits.items() if str(part) not in ("None", "1.0")}
    if model.encoder.adapters and not model.encoder.adapts_per_task:
        merge(model.encoder)
    stored = BundleConfig(
        pooling=config["pooling"],
        tasks=config["tasks"],
        max_length=tokenizer.max_length,
        truncation=tokenizer.truncation,
        normalize=config["normalize"],
        adapter=config["adapter"] if model.encoder.adapts_per_task else None,
        judged_by_part=limited,
    )
    return Bundle(model.eval(), tokenizer, stored, labels, metrics)
