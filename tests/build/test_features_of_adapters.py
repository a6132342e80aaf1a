"""Layers below the adapters never change, so that each text passes through them once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from candelabra.model.adapters import Lora
from candelabra.model.freeze.constant import FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from helpers.frozen import featured, fit
from helpers.toys import Splits, difference, sgd, tiny, toy_model, toy_module

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # frozen parts are


def adapted(toys: Splits, *, per_task: bool, num_layers: int | None = 1) -> MultiTaskModel:
    """A model with dropout and adapters in its top layers, as at the start of a run."""
    model = toy_model(tiny(dropout=0.1))
    torch.manual_seed(0)
    Lora(r=2, num_layers=num_layers, per_task=per_task).attach(model.encoder, list(toys))
    model.freezer = Freezer(FreezeNothing())
    model.freezer.apply(model, 0)
    return model


@pytest.mark.parametrize("per_task", [False, True])
def test_a_run_with_features_equals_one_without(
    toys: Splits, per_task: bool, tmp_path: Path
) -> None:
    plain = fit(toys, adapted(toys, per_task=per_task), optimizer=sgd)
    model = adapted(toys, per_task=per_task)
    splits = featured(toys, model, tmp_path)
    assert model.encoder.prefix is not None
    assert model.encoder.prefix.depth == 1
    assert all(parts["train"].features is not None for parts in splits.values())
    stored = fit(splits, model, optimizer=sgd)
    assert model.encoder.prefix.live
    assert difference(plain, stored) < 1e-5
    assert difference(plain, toy_module(adapted(toys, per_task=per_task))) > 1e-3
    assert stored.scores == pytest.approx(plain.scores)


def test_adapters_in_all_layers_leave_nothing_to_keep(toys: Splits, tmp_path: Path) -> None:
    model = adapted(toys, per_task=False, num_layers=None)
    assert model.encoder.below_adapters == model.encoder.stem
    splits = featured(toys, model, tmp_path)
    assert model.encoder.prefix is None
    assert all(parts["train"].features is None for parts in splits.values())


def test_only_what_lies_below_has_no_dropout(toys: Splits) -> None:
    model = adapted(toys, per_task=True).train()
    assert [layer.training for layer in model.encoder.layers] == [False, True]
    assert not model.encoder.embeddings.training
