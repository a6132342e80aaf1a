"""What a finished fit is turned into: pace, test scores of the best weights, a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from candelabra.bundle import Bundle
from candelabra.data.collate import TokenizedSplit
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.schedule import JointSchedule
from candelabra.data.tokens import TextTokenizer
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.module import MultiTaskModule, scores_of
from candelabra.training.predictions import PredictionWriter

SCORE = "val/score"


def pace(
    steps: int,
    splits: Mapping[str, Mapping[str, TokenizedSplit]],
    schedule: JointSchedule,
    seconds: float,
) -> dict[str, float]:
    """Steps, examples and tokens of the fit, and how many a second (validation included)."""
    examples = tokens = 0
    for step in range(steps):
        for task, rows in schedule.batch(step).items():
            examples += len(rows)
            tokens += int(splits[task]["train"].lengths[rows].sum())
    return {
        "steps": steps,
        "fit_seconds": round(seconds, 3),
        "examples_per_second": round(examples / seconds, 3),
        "tokens_per_second": round(tokens / seconds, 3),
    }


def test_best(
    trainer: pl.Trainer, module: MultiTaskModule, data: MultiTaskDataModule, folder: Path
) -> dict[str, float]:
    """Takes the weights with the best `val/score` and tests them.

    Args:
        trainer: After its fit.
        module: Gets the best weights; keeps the last ones where no checkpoint watched the score.
        data: Tasks without a test split are left out.
        folder: The run folder; `predictions/` goes there.

    Returns:
        `val/...` of those weights and `test/...`.
    """
    best = best_checkpoint(trainer)
    scores = scores_of(trainer, "val")
    if best is not None:
        checkpoint = torch.load(best, map_location="cpu", weights_only=True)
        module.load_state_dict(checkpoint["state_dict"])
        scores = checkpoint["scores"]
    tested = data.split("test")
    if not tested:
        return scores
    trainer.callbacks.append(PredictionWriter(folder / "predictions", tested))  # type: ignore[attr-defined]
    trainer.test(module, datamodule=data, verbose=False)
    return {**scores, **scores_of(trainer, "test")}


def best_checkpoint(trainer: pl.Trainer) -> Path | None:
    """The file that the callback on `val/score` kept, if there is one."""
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
    """The trained model with what it needs to be used; `config` holds plain values."""
    kept = {"pooling": config["pooling"], "tasks": config["tasks"]}
    return Bundle(model.eval(), tokenizer, kept, labels, metrics)
