"""Trains and tests the toy tasks in two processes: `python -m helpers.two_ranks FOLDER`."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from candelabra.data.mixing.steps import alternate
from candelabra.losses.classification import cross_entropy
from candelabra.model.adapters import Adapters, Lora, NoAdapters
from candelabra.model.backbones import Tiny
from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import FreezeEncoder, FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual
from candelabra.model.prefix import FrozenPrefix
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO, ResumeCheckpoint
from candelabra.training.callbacks.gradients import GradientDiagnostics
from candelabra.training.callbacks.non_finite import NonFiniteGuard
from candelabra.training.callbacks.predictions import PredictionWriter
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import scores_of
from candelabra.training.teaching import SoftAnswers, Teacher
from helpers.frozen import featured, frozen_model
from helpers.kinds import kinds_module, kinds_splits
from helpers.toys import Splits, sgd, toy_data, toy_model, toy_module, toy_splits, toy_trainer

CASES: dict[str, dict[str, Any]] = {
    "joint": {},
    # A step has four parts, and some of them may be empty.
    "few examples a step": {"accumulate": 2, "batch_size": 5},
    "alternate": {"accumulate": 2, "step": alternate},
    "a bad loss in one of them": {"bad_step": 3},
    "an adapter for each": {"adapters": Lora(r=2, num_layers=1, per_task=True)},
    "more learns later": {"freeze": Gradual(epochs_per_group=0.3, warmup_steps=0), "accumulate": 2},
    "a teacher beside the labels": {"taught": True, "accumulate": 2, "batch_size": 5},
    "stored features": {"freeze": FreezeEncoder(), "features": True, "batch_size": 5},
    "a head of each kind": {"kinds": True, "batch_size": 21},
    "few of each kind": {"kinds": True, "batch_size": 11},
}
RESUMED_AT = 3


class Spoil(pl.Callback):
    """In one step the last process gets a loss that is no number."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.bad = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        pl_module.objectives["who"] = replace(pl_module.objectives["who"], loss=self._loss)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        last = trainer.global_rank == trainer.world_size - 1
        self.bad = last and trainer.global_step == self.step

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets) * (float("nan") if self.bad else 1.0)


class EveryStep(ResumeCheckpoint):
    """Keeps a checkpoint of each step."""

    def __init__(self, folder: Path) -> None:
        super().__init__(dirpath=folder, every_n_train_steps=1)
        self.folder = folder

    def save(self, trainer: pl.Trainer) -> None:
        self.path = self.folder / f"{trainer.global_step}.ckpt"
        super().save(trainer)


class Uneven(EveryStep):
    """Saves by the clock alone, which goes in the first process and stands still in others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.every_n_train_steps = 1000

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.minutes = 1e-9 if trainer.is_global_zero else 1e9


def trainer_of(ranks: int, *, unused: bool = False, **kwargs: Any) -> pl.Trainer:
    if ranks > 1:
        kwargs["strategy"] = DDPStrategy(
            start_method="fork",
            process_group_backend="gloo",
            timeout=timedelta(seconds=30),
            find_unused_parameters=unused,
            gradient_as_bucket_view=True,
        )
    return toy_trainer(devices=ranks, **kwargs)


def any_teacher(toys: Splits) -> Teacher:
    """Answers drawn by a seed; the teacher did not read every seventh word."""
    generator = torch.Generator().manual_seed(7)
    texts, words = toys["mood"]["train"], toys["who"]["train"].examples.words
    assert words is not None
    starts_N = torch.tensor([0, *map(len, words)]).cumsum(0)
    logits = torch.randn(int(starts_N[-1]), 4, generator=generator)
    logits[::7] = torch.nan
    answers = {
        "mood": SoftAnswers(torch.randn(len(texts), 2, generator=generator)),
        "who": SoftAnswers(logits, starts_N),
    }
    return Teacher(answers, weight=0.5, temperature=2.0)


def stored_features(toys: Splits) -> tuple[Splits, FrozenPrefix | None]:
    """The splits with the features of the frozen toy encoder, and that encoder's part."""
    model = frozen_model()
    with TemporaryDirectory() as folder:
        return featured(toys, model, Path(folder)), model.encoder.prefix


def trained(
    toys: Splits,
    ranks: int,
    *,
    accumulate: int = 1,
    bad_step: int = -1,
    freeze: Scheme | None = None,
    adapters: Adapters | None = None,
    kinds: bool = False,
    taught: bool = False,
    features: bool = False,
    **schedule: Any,
) -> tuple[MultiTaskModule, dict[str, float]]:
    """Weights and validation metrics; five chunks, which two ranks cannot share evenly."""
    trainer = trainer_of(
        ranks,
        unused="step" in schedule,
        accumulate_grad_batches=accumulate,
        callbacks=[
            *(Spoil(bad_step), NonFiniteGuard("skip")),
            # Taught tasks are compared with their teachers, which all ranks do together.
            *([GradientDiagnostics(every_n_steps=1)] if taught else []),
        ],
    )
    splits = kinds_splits(Tiny(max_length=32).tokenizer()) if kinds else toys
    if features:
        splits, prefix = stored_features(toys)
    data = toy_data(splits, eval_batch_size=16, **schedule)
    freezer = Freezer(freeze or FreezeNothing(), steps_per_epoch=data.schedule.steps_per_epoch)
    model = toy_model(freezer=freezer)
    torch.manual_seed(0)
    (adapters or NoAdapters()).attach(model.encoder, list(toys))
    freezer.apply(model, 0)
    model.encoder.prefix = prefix if features else None
    module = (
        kinds_module(optimizer=sgd)
        if kinds
        else toy_module(model, optimizer=sgd, teacher=any_teacher(toys) if taught else None)
    )
    trainer.fit(module, datamodule=data)
    return module, scores_of(trainer, "val")


def kept(
    toys: Splits,
    ranks: int,
    folder: Path,
    start: Path | None = None,
    *,
    saving: type[EveryStep] = EveryStep,
    max_epochs: int = 2,
) -> MultiTaskModule:
    """A run with a checkpoint of each step in `folder`, from the checkpoint `start` on."""
    trainer = trainer_of(
        ranks,
        callbacks=[saving(folder)],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=True,
        max_epochs=max_epochs,
    )
    freezer = Freezer(Gradual(epochs_per_group=0.5, warmup_steps=0), steps_per_epoch=4)
    model = toy_model(freezer=freezer)
    freezer.apply(model, 0)
    module = toy_module(model, optimizer=sgd)
    data = toy_data(toys, steps_per_epoch=4)
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    return module


def predicted(toys: Splits, ranks: int, folder: Path) -> dict[str, float]:
    """Test metrics; the predictions lie in `folder`."""
    writer = PredictionWriter(folder, {task: splits["test"] for task, splits in toys.items()})
    trainer = trainer_of(ranks, callbacks=[writer])
    data = toy_data(toys, eval_batch_size=7)
    trainer.test(toy_module(), datamodule=data, verbose=False, weights_only=True)
    return scores_of(trainer, "test")


def main(folder: Path) -> None:
    toys, found = toy_splits(Tiny(max_length=32).tokenizer()), {}
    for name, case in CASES.items():
        module, metrics = trained(toys, 2, **case)
        found[name] = {"weights": module.model.state_dict(), "metrics": metrics}
    kept(toys, 2, folder / "two")
    kept(toys, 2, folder / "by the clock", saving=Uneven, max_epochs=3)
    resumed = kept(toys, 2, folder / "again", folder / "one" / f"{RESUMED_AT}.ckpt")
    found["resumed"] = {"weights": resumed.model.state_dict()}
    found["tested"] = {"metrics": predicted(toys, 2, folder / "two predictions")}
    torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
