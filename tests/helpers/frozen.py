"""Toy tasks on a frozen encoder, with and without stored features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from candelabra.build.features import with_features
from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.module import MultiTaskModule
from helpers.toys import Splits, toy_data, toy_model, toy_module, toy_schedule, toy_trainer


def settings(folder: Path, **changed: Any) -> DictConfig:
    """What `with_features` reads of a configuration."""
    return OmegaConf.create(
        {
            "feature_cache": "float32",
            "paths": {"cache_dir": str(folder), "feature_cache_gb": 1},
            "trainer": {"limit_val_batches": 1.0, "limit_test_batches": 1.0},
            "test": True,
            "distill_frozen": 0.0,
            **changed,
        }
    )


def frozen_model(scheme: Scheme | None = None, **kwargs: Any) -> MultiTaskModel:
    """The toy model with a frozen encoder, as at the start of a run."""
    schedule = kwargs.pop("steps_per_epoch", 8)
    model = toy_model(**kwargs)
    model.freezer = Freezer(scheme or FreezeEncoder(), steps_per_epoch=schedule)
    model.freezer.apply(model, 0)
    return model


def featured(
    toys: Splits, model: MultiTaskModel, folder: Path, *, num_epochs: int = 1, **changed: Any
) -> Splits:
    """The splits with the features of a model."""
    return with_features(
        toys,
        model,
        toy_schedule(toys, num_epochs=num_epochs),
        settings(folder, **changed),
        precision="32-true",
        device="cpu",
    )


def fit(
    splits: Splits, model: MultiTaskModel, trainer: pl.Trainer | None = None, **kwargs: Any
) -> MultiTaskModule:
    """The module after two epochs, by default."""
    module = toy_module(model, **kwargs)
    data = toy_data(splits)
    (trainer or toy_trainer(max_epochs=2)).fit(module, datamodule=data)
    return module
