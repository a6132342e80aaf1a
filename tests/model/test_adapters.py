"""Adapters: the formula, what learns, one base for all tasks, and what a bundle keeps of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from candelabra.config.targets import NAME
from candelabra.errors import ConfigError
from candelabra.model.adapters import SHARED, Lora, adapted_modules, choose, encode_per_task, merge
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.constant import FreezeHead, FreezeLowerLayers, FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Tokens
from candelabra.training.module import MultiTaskModule
from helpers.bundles import adapt
from helpers.small_models import KINDS, small_encoder
from helpers.toys import Splits, difference, fit, tiny, toy_model, toy_module

TASKS = ("mood", "who")


def texts() -> Tokens:
    ids_BL = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 2, 0, 0]])
    return Tokens(ids_BL, (ids_BL > 0).long())


def backbone(name: str) -> Encoder:
    return small_encoder(name, attention="eager").eval()


def hidden(encoder: Encoder) -> Tensor:
    """Of what is no padding."""
    tokens = texts()
    with torch.no_grad():
        return encoder(tokens).hidden_BLD[tokens.mask_BL > 0]


@pytest.mark.parametrize("name", KINDS)
def test_a_new_adapter_changes_nothing_and_a_learnt_one_by_the_formula(name: str) -> None:
    plain, by_hand = backbone(name), backbone(name)
    fresh = backbone(name)
    Lora(r=2).attach(fresh, TASKS)
    assert torch.equal(hidden(fresh.eval()), hidden(plain))
    changed = adapt(backbone(name), r=2, alpha=6.0)
    assert (hidden(changed) - hidden(plain)).abs().max() > 1e-2
    state = changed.backbone.state_dict()
    count = 0
    for path, module in by_hand.backbone.named_modules():
        if f"{path}.lora_A.{SHARED}.weight" in state:
            a, b = (state[f"{path}.lora_{part}.{SHARED}.weight"] for part in "AB")
            assert isinstance(module, nn.Linear)
            module.weight.data += 6.0 / 2 * b @ a
            count += 1
    assert count == (3 if name == "modernbert" else 6)  # queries and values, there in one
    torch.testing.assert_close(hidden(by_hand), hidden(changed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_one_pass_below_the_adapters_serves_all_tasks(name: str, num_layers: int) -> None:
    encoder, tokens = adapt(backbone(name), num_layers=num_layers, per_task=True), texts()
    calls: Counter[int] = Counter()
    for index, layer in enumerate(encoder.layers):
        part = next(iter(layer.children()))
        part.register_forward_hook(lambda *_, i=index: calls.update([i]))
    with torch.no_grad():
        found = encode_per_task(encoder, tokens, every_layer=True)
    assert [calls[i] for i in range(3)] == [1] * (3 - num_layers) + [2] * num_layers
    for task in TASKS:
        choose(encoder, task)
        with torch.no_grad():
            alone = encoder(tokens, every_layer=True)
        torch.testing.assert_close(found[task].hidden_BLD, alone.hidden_BLD)
        assert found[task].layers is not None
        assert alone.layers is not None
        torch.testing.assert_close(found[task].layers, alone.layers)
    apart = found["mood"].hidden_BLD - found["who"].hidden_BLD
    assert apart.abs().max() > 1e-2


@pytest.mark.parametrize("name", KINDS)
def test_merged_it_is_an_ordinary_encoder(name: str) -> None:
    encoder = adapt(backbone(name))
    before = hidden(encoder)
    merge(encoder)
    torch.testing.assert_close(hidden(encoder), before, atol=1e-5, rtol=1e-5)
    assert encoder.state_dict().keys() == backbone(name).state_dict().keys()
    assert encoder.adapters == ()
    assert not list(adapted_modules(encoder))


def adapted_model(scheme: Any = None, *, dropout: float = 0.0, **settings: Any) -> MultiTaskModel:
    freezer = Freezer(scheme or FreezeNothing())
    model = toy_model(tiny(dropout=dropout), freezer=freezer)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        Lora(r=2, **settings).attach(model.encoder, TASKS)
    freezer.apply(model, 0)
    return model


def learning(model: MultiTaskModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_adapters_and_heads_learn_and_nothing_else() -> None:
    model = adapted_model(per_task=True)
    names = dict(model.named_parameters())
    expected = {name for name in names if ".lora_" in name or name.startswith("heads.")}
    assert learning(model) == expected
    choose(model.encoder, "who")
    assert learning(model) == expected
    low = adapted_model(FreezeLowerLayers(num_layers=1), per_task=True)
    assert learning(low) == {name for name in expected if ".layer.0." not in name}


def test_a_frozen_head_keeps_its_adapter() -> None:
    model = adapted_model(FreezeHead(head="mood"), per_task=True)
    held = {n for n, p in model.named_parameters() if not p.requires_grad and ".lora_" in n}
    assert held == {n for n, _ in model.named_parameters() if ".lora_" in n and ".mood." in n}
    assert held


def test_no_head_owns_the_shared_adapter() -> None:
    model = adapted_model()
    assert not NAME.fullmatch(SHARED)  # so no task is called so
    assert not model.encoder.adapts_per_task
    assert all(len(model.parts_of(task)) == 1 for task in TASKS)


def test_a_single_task_has_its_own_adapter() -> None:
    encoder = tiny()
    Lora(r=2, per_task=True).attach(encoder, ["mood"])
    assert encoder.adapts_per_task
    assert encoder.adapters == ("mood",)


def test_a_task_moves_its_own_adapter(toys: Splits) -> None:
    model = adapted_model(per_task=True)
    logits = model({"mood": toys["mood"]["train"].batch([0, 1, 2])})
    logits["mood"].sum().backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and ".lora_" in n}
    assert moved == {n for n in learning(model) if ".lora_" in n and ".mood." in n}


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # layers below the adapters are
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")  # that is a resume
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_a_resumed_run_equals_an_unbroken_one(toys: Splits, tmp_path: Path) -> None:
    def module() -> MultiTaskModule:
        return toy_module(adapted_model(per_task=True, dropout=0.3))

    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3)
    settings: dict[str, Any] = {"max_epochs": 2, "enable_checkpointing": True, "callbacks": [keep]}
    whole = fit(toys, module(), **settings)
    path = tmp_path / "step=3.ckpt"
    resumed = fit(toys, module(), ckpt_path=str(path), **settings)
    assert difference(whole, resumed) == 0
    fixed = {k: v for k, v in whole.model.state_dict().items() if "base_layer" in k}
    assert fixed
    assert all(torch.equal(v, module().model.state_dict()[k]) for k, v in fixed.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, "r must be a whole number of at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1, got 0"),
        ({"num_layers": 3}, "num_layers must be at most 2, got 3"),
        ({"targets": ["nothing"]}, r"targets must be ends of .* got \[.nothing.\]"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Lora(**settings).attach(tiny(), TASKS)
