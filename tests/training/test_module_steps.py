"""What a single step does: losses, micro-batches, ranks, clipping, seeds, freezing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from candelabra.data.tokens import TextTokenizer
from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw, linear
from candelabra.weighting.uncertainty import Uncertainty
from helpers.toys import (
    LABELS,
    Splits,
    Watch,
    difference,
    encode,
    fit,
    sgd,
    tagged,
    tiny,
    toy_data,
    toy_model,
    toy_module,
    weights,
)


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_micro_batches_change_nothing(toys: Splits, accumulate: int, weighting: str) -> None:
    """The loss is divided by the units of the whole step: 1 x 8 equals 2 x 4."""

    def run(accumulate: int) -> MultiTaskModule:
        # The steps are short at times.
        kwargs = {"optimizer": sgd}
        if weighting == "uncertainty":
            kwargs["weighting"] = Uncertainty(list(LABELS), lr=0.1)
        settings = {"batch_size": 12, "epoch": "all_once"}
        return fit(toys, toy_module(**kwargs), data=settings, accumulate_grad_batches=accumulate)

    whole = run(1)
    assert whole.steps_done == 6
    assert difference(whole, toy_module()) > 1e-2
    assert difference(whole, run(accumulate)) < 1e-6


def test_the_loss_is_the_weighted_sum_of_means(toys: Splits) -> None:
    """Against a step by hand: cross-entropy averaged over examples and over words."""
    module = toy_module(optimizer=sgd)
    module.objectives["who"] = replace(module.objectives["who"], loss_weight=0.25)
    watch = Watch()
    batches = {
        task: toys[task]["train"].batch(rows)
        for task, rows in toy_data(toys).schedule.batch(0).items()  # type: ignore[union-attr]
    }
    with torch.no_grad():
        logits = module.model.train()(batches)
    mood = torch.nn.functional.cross_entropy(logits["mood"], batches["mood"].targets)
    who = torch.nn.functional.cross_entropy(
        logits["who"].flatten(0, 1), batches["who"].targets.flatten()
    )
    fit(toys, module, max_steps=1, callbacks=[watch])
    assert watch.losses[0] == pytest.approx(float(mood + 0.25 * who), rel=1e-5)


def test_the_rate_moves_with_optimizer_steps(toys: Splits) -> None:
    watch = Watch()
    module = toy_module(
        optimizer=partial(adamw, lr=1.0), scheduler=partial(linear, warmup_steps=2), total_steps=8
    )
    fit(toys, module, accumulate_grad_batches=2, callbacks=[watch])
    expected = [0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert watch.rates[::2] == pytest.approx(expected)
    assert watch.rates[1::2] == pytest.approx(expected)


def test_the_norm_is_clipped(toys: Splits) -> None:
    watch = Watch()
    fit(toys, toy_module(optimizer=sgd), gradient_clip_val=1e-3, callbacks=[watch])
    assert watch.norms
    assert max(watch.norms) == pytest.approx(1e-3, rel=1e-3)


def test_bf16_with_fused_adamw_clips(toys: Splits) -> None:
    watch = Watch()
    fit(toys, precision="bf16-mixed", gradient_clip_val=1e-3, callbacks=[watch])
    assert max(watch.norms) < 1.1e-3
    assert sum(watch.losses[4:]) < sum(watch.losses[:4])


def test_float16_clips_what_the_scaler_has_unscaled(toys: Splits) -> None:
    """As on a GPU: scaled gradients are huge, and clipping them would leave next to nothing."""

    def run(**kwargs: object) -> MultiTaskModule:
        module = toy_module(optimizer=partial(adamw, lr=1e-3, eps=1e-2))
        return fit(toys, module, gradient_clip_val=1.0, max_steps=3, **kwargs)

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    half = run(plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    moved = difference(run(), toy_module())
    assert difference(run(), half) < 0.1 * moved


def test_dropout_follows_the_seed(toys: Splits) -> None:
    def run(seed: int, noise: int) -> MultiTaskModule:
        torch.manual_seed(noise)
        return fit(toys, toy_module(toy_model(tiny(dropout=0.3)), seed=seed), max_steps=2)

    assert difference(run(1, 10), run(1, 20)) == 0
    assert difference(run(1, 10), run(2, 10)) > 1e-4


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # frozen parts are, on purpose
def test_a_frozen_encoder_stays_as_it_is(toys: Splits) -> None:
    model = toy_model(tiny(dropout=0.3), freezer=Freezer(FreezeEncoder()))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    watch, module = Watch(), toy_module(model)
    before = weights(module)
    fit(toys, module, max_epochs=2, callbacks=[watch])
    assert set(watch.modes) == {(True, False)}
    moved = {name for name, tensor in weights(module).items() if not tensor.equal(before[name])}
    assert moved == {name for name in before if name.startswith("heads.")}


def test_a_step_whose_words_were_all_dropped_is_harmless(
    toys: Splits, tokenizer: TextTokenizer
) -> None:
    gone = encode(tagged([(["\u200b"], [1])] * 3), tokenizer)
    splits = {**toys, "who": {**toys["who"], "train": gone}}
    module = fit(splits)
    assert all(tensor.isfinite().all() for tensor in weights(module).values())
