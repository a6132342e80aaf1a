"""Each freeze scheme through a training: what is frozen stays, and what thaws joins in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import Tensor, nn

from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import (
    Composition,
    FreezeEmbeddings,
    FreezeEncoder,
    FreezeHead,
    FreezeLowerLayers,
    FreezeNothing,
)
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual, LinearProbeThenFinetune
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import TrainingProgress
from candelabra.training.loggers.csv_file import MetricsFile
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw, linear
from helpers.toys import Splits, difference, fit, tiny, toy_model, toy_module, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),  # frozen parts are, on purpose
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty"),  # of a resume
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint"),  # the sampler can
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),  # one saves only
]
STEPS_PER_EPOCH = 8
EPOCHS = 2
GRADUAL = Gradual(epochs_per_group=0.25, layer_decay=0.5, warmup_steps=3)
PROBE = LinearProbeThenFinetune(probe_epochs=0.5, probe_lr_factor=4.0, warmup_steps=1)


class _HeadLater(Scheme):
    """Freezes more as the run goes on, as no option of ours does."""

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        return model.parts_of("who") if at.step >= 3 else []


SCHEMES: dict[str, Scheme] = {
    "none": FreezeNothing(),
    "encoder": FreezeEncoder(),
    "embeddings": FreezeEmbeddings(),
    "lower_layers": FreezeLowerLayers(num_layers=1),
    "head": FreezeHead(head="who"),
    "composition": Composition(
        parts={"low": FreezeLowerLayers(num_layers=1), "head": FreezeHead(head="mood")}
    ),
    "gradual": GRADUAL,
    "gradual above frozen layers": Composition(parts={"up": GRADUAL, "low": FreezeEmbeddings()}),
    "linear_probe_then_finetune": PROBE,
    "a head later": _HeadLater(),
}


def module_of(scheme: Scheme) -> MultiTaskModule:
    """With dropout everywhere, and a schedule that rises and falls."""
    freezer = Freezer(scheme, steps_per_epoch=STEPS_PER_EPOCH)
    return toy_module(
        toy_model(tiny(dropout=0.3), freezer=freezer),
        optimizer=partial(adamw, lr=5e-3, head_lr=2e-2),
        scheduler=partial(linear, warmup_steps=2),
        total_steps=STEPS_PER_EPOCH * EPOCHS,
    )


def learning(model: MultiTaskModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def dropouts(model: MultiTaskModel, frozen: Sequence[nn.Module]) -> set[str]:
    """The dropouts outside of what is frozen."""
    still = {part for whole in frozen for part in whole.modules()}
    named = model.named_modules()
    return {name for name, part in named if isinstance(part, nn.Dropout) and part not in still}


class Spy(pl.Callback):
    """Sees each step: what learns, what moved, what is in the optimizer, and at what rates."""

    def __init__(self) -> None:
        self.learns: list[set[str]] = []
        self.moved: list[set[str]] = []
        self.drops: list[set[str]] = []
        self.rates: list[dict[str, float]] = []
        self.moments: list[dict[str, int]] = []
        self._before: Mapping[str, Tensor] = {}

    def on_before_zero_grad(self, trainer: pl.Trainer, module: Any, *_: object) -> None:
        self._before = weights(module)
        model, (optimizer,) = module.model, trainer.optimizers
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = optimizer.param_groups
        self.rates.append({names[id(p)]: group["lr"] for group in groups for p in group["params"]})
        self.learns.append(learning(model))
        self.drops.append(
            {
                name
                for name, part in model.named_modules()
                if isinstance(part, nn.Dropout) and part.training
            }
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: object) -> None:
        now, (optimizer,) = weights(module), trainer.optimizers
        self.moved.append({key for key in now if not torch.equal(now[key], self._before[key])})
        self.moments.append(
            {
                name: int(optimizer.state[parameter]["step"])
                for name, parameter in module.model.named_parameters()
                if parameter in optimizer.state
            }
        )


@pytest.mark.parametrize("name", SCHEMES)
def test_only_what_learns_moves_drops_and_is_optimized(toys: Splits, name: str) -> None:
    spy, module = Spy(), module_of(SCHEMES[name])
    fit(toys, module, max_epochs=EPOCHS, callbacks=[spy])
    reference = module_of(SCHEMES[name]).model
    assert reference.freezer is not None
    seen = dict.fromkeys(dict(reference.named_parameters()), 0)
    for step in range(STEPS_PER_EPOCH * EPOCHS):
        reference.freezer.apply(reference, step)
        learns = learning(reference)
        assert spy.learns[step] == set(spy.rates[step]) == set(spy.moments[step]) == learns
        assert spy.drops[step] == dropouts(reference, reference.freezer.frozen)
        assert spy.moved[step] <= learns
        # The first step of the warm-up has a rate of 0; a softmax is blind to its keys' bias.
        sure = {key for key in learns if step and not key.endswith("key.bias")}
        assert sure <= spy.moved[step]
        # Others keep their moments when a group joins.
        seen = {key: count + 1 if key in learns else 0 for key, count in seen.items()}
        assert spy.moments[step] == {key: count for key, count in seen.items() if count}


def test_rates_follow_schedule_depth_warmup_and_probe(toys: Splits) -> None:
    spy = Spy()
    fit(toys, module_of(GRADUAL), max_epochs=EPOCHS, callbacks=[spy])
    top, low = (f"encoder.backbone.encoder.layer.{i}.output.dense.weight" for i in (1, 0))
    table = "encoder.backbone.embeddings.word_embeddings.weight"
    total = STEPS_PER_EPOCH * EPOCHS
    shape = [min(step / 2, (total - step) / (total - 2)) for step in range(total)]
    for name, joined, rate in ((top, 2, 5e-3), (low, 4, 2.5e-3), (table, 6, 1.25e-3)):
        for step in range(total):
            rise = min(1.0, (step - joined + 1) / 4)
            expected = rate * rise * shape[step] if step >= joined else None
            assert spy.rates[step].get(name) == pytest.approx(expected), (name, step)
    spy = Spy()
    fit(toys, module_of(PROBE), max_epochs=EPOCHS, callbacks=[spy])
    for step in range(total):
        factor = 4.0 if step < 4 else 1.0
        rate = spy.rates[step]["heads.who.classifier.1.weight"]
        assert rate == pytest.approx(2e-2 * factor * shape[step])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_resumed_run_equals_an_unbroken_one(toys: Splits, tmp_path: Path, name: str) -> None:
    """Before a thaw, where one is due, and after."""
    every_step = {"every_n_train_steps": 1, "save_on_train_epoch_end": False}
    callback = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every_step)
    settings: dict[str, Any] = {"max_epochs": EPOCHS, "enable_checkpointing": True}
    unbroken = fit(toys, module_of(SCHEMES[name]), callbacks=[callback], **settings)
    for step in (4, 5, 11):
        spy = Spy()
        path = str(tmp_path / f"step={step}.ckpt")
        resumed = fit(toys, module_of(SCHEMES[name]), callbacks=[spy], ckpt_path=path, **settings)
        assert resumed.steps_done == STEPS_PER_EPOCH * EPOCHS
        assert difference(unbroken, resumed) == 0
        assert len(spy.rates) == STEPS_PER_EPOCH * EPOCHS - step


def test_the_monitor_of_rates_takes_new_groups(toys: Splits, tmp_path: Path) -> None:
    monitor = LearningRateMonitor(logging_interval="step")
    logger = MetricsFile(folder=tmp_path)
    fit(toys, module_of(GRADUAL), max_epochs=EPOCHS, callbacks=[monitor], logger=logger)
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header.count("lr-AdamW") == 8


def test_a_module_keeps_the_rate_that_it_asks_for(toys: Splits) -> None:
    """While the probe has all other rates multiplied."""
    model = toy_model(
        mixes={"mood": LayerMix(3, lr=0.07)}, freezer=Freezer(PROBE, steps_per_epoch=8)
    )
    spy = Spy()
    fit(toys, toy_module(model, optimizer=partial(adamw, lr=5e-3)), callbacks=[spy])
    for step, rates in enumerate(spy.rates):
        assert rates["mixes.mood.gamma"] == pytest.approx(0.07)
        assert rates["heads.who.classifier.1.weight"] == pytest.approx(
            5e-3 * (4 if step < 4 else 1)
        )
