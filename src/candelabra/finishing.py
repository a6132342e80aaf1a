"""What a finished fit is turned into: test scores of the best weights, and a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from candelabra.bundle import Bundle
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.tokens import TextTokenizer
from candelabra.model.adapters import merge
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.checkpoints import read_checkpoint
from candelabra.training.judging import scores_of
from candelabra.training.module import MultiTaskModule
from candelabra.training.predictions import PredictionWriter

SCORE = "val/score"


def pace(module: MultiTaskModule, seconds: float) -> dict[str, float]:
    """How much the fit did in this process' time (validation included), and how fast."""
    done = {f"{key}_per_second": round(n / seconds, 3) for key, n in module.session.items()}
    return {"steps": module.steps_done, "fit_seconds": round(seconds, 3), **done}


def take_best(trainer: pl.Trainer, module: MultiTaskModule) -> dict[str, float]:
    """Takes the weights with the best `val/score`.

    Args:
        trainer: After its fit.
        module: Gets the best weights; keeps the last ones where no checkpoint watched the score.

    Returns:
        `val/...` of those weights.
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
    """Tests the weights as they are.

    Args:
        trainer: After its fit.
        module: With the weights to test.
        data: Tasks without a test split are left out.
        folder: The run folder; `predictions/` goes there.

    Returns:
        `test/...`.
    """
    tested = data.split("test")
    if not tested:
        return {}
    trainer.callbacks.append(PredictionWriter(folder / "predictions", tested))  # type: ignore[attr-defined]
    trainer.test(module, datamodule=data, verbose=False, weights_only=True)
    return scores_of(trainer, "test")


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
    """The trained model with what it needs to be used; `config` holds plain values.

    An adapter that serves all tasks is merged into the encoder.
    """
    kept = {key: config[key] for key in ("pooling", "normalize", "tasks")}
    limits = {split: config["trainer"][f"limit_{split}_batches"] for split in ("val", "test")}
    # So that no card takes the scores of a trial for those of the data. A whole 1 is one batch.
    kept["judged_by_part"] = {
        split: part for split, part in limits.items() if str(part) not in ("None", "1.0")
    }
    if model.encoder.adapts_per_task:
        kept["adapter"] = config["adapter"]
    elif model.encoder.adapters:
        merge(model.encoder)
    return Bundle(model.eval(), tokenizer, kept, labels, metrics)
