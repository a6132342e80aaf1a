"""What the options of `pooling`, `freeze` and `adapter` do to a model, by rules of this file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from candelabra.build.model import adapt_and_freeze, build_model
from candelabra.model.adapters import adapted_modules
from candelabra.model.encoder import SHARED
from candelabra.model.multitask import MultiTaskModel
from helpers.composing import OPTIONS, composed, words
from helpers.toys import LABELS, tiny

TASKS = ["tasks=none", "+task@tasks.sentiment=sample_reviews", "+task@tasks.movie=sample_questions"]
TASK_LABELS = {"sentiment": LABELS["mood"], "movie": LABELS["who"]}
DEPTH = 2


def options(group: str) -> list[str]:
    return [name for name in OPTIONS if name.startswith(f"{group}/")]


def model_of(name: str, folder: Path) -> MultiTaskModel:
    """A tiny model with two heads, as an option leaves it before the first step."""
    cfg = composed([*TASKS, *words(name)], folder)
    model = build_model(tiny(), TASK_LABELS, pooling=cfg.pooling, tasks=cfg.tasks)
    adapt_and_freeze(model, adapter=cfg.adapter, freeze=cfg.freeze, steps_per_epoch=10)
    return model


POOLED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda hidden_LD: hidden_LD.mean(0),
    "modules": lambda hidden_LD: hidden_LD.mean(0),
    "attention": lambda hidden_LD: hidden_LD.mean(0),  # before it has learned
    "mean_sqrt_len": lambda hidden_LD: hidden_LD.sum(0) / len(hidden_LD) ** 0.5,
    "weighted_mean": lambda hidden_LD: torch.from_numpy(
        np.average(hidden_LD.numpy(), 0, np.arange(1, len(hidden_LD) + 1, dtype=np.float32))
    ),
    "max": lambda hidden_LD: hidden_LD.max(0).values,
    "cls": lambda hidden_LD: hidden_LD[0],
    "last_token": lambda hidden_LD: hidden_LD[-1],
}
"""Option -> what it makes of the embeddings of one text without padding."""


@pytest.mark.parametrize("name", options("pooling"))
def test_pooling_gives_what_its_name_says(name: str, tmp_path: Path) -> None:
    model = model_of(name, tmp_path)
    hidden_BLD = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    lengths = [5, 1, 3]
    mask_BL = torch.stack([(torch.arange(5) < length).long() for length in lengths])
    option = name.partition("/")[2]
    if option == "cls_pooler":  # whose layer is that of this model
        dense = model.pooling.dense
        expected = lambda hidden_LD: (dense.weight @ hidden_LD[0] + dense.bias).tanh()  # noqa: E731
    else:
        expected = POOLED[option]
    rows = zip(hidden_BLD, lengths, strict=True)
    expected_BD = torch.stack([expected(hidden_LD[:length]) for hidden_LD, length in rows])
    torch.testing.assert_close(model.pooling(hidden_BLD, mask_BL), expected_BD)


EMBEDDINGS, LAYER_0 = r"encoder\.backbone\.embeddings\.", r"encoder\.backbone\.encoder\.layer\.0\."
ENCODER, MOVIE = r"encoder\.", r"heads\.movie\."
TOP = r"encoder\.backbone\.(embeddings|encoder\.layer\.0)\."
FROZEN: dict[str, dict[int, str]] = {
    "none": {0: "nothing"},
    "embeddings": {0: EMBEDDINGS},
    "encoder": {0: ENCODER},
    "lower_layers": {0: f"{EMBEDDINGS}|{LAYER_0}"},
    "head": {0: MOVIE},
    "lower_layers_and_head": {0: f"{EMBEDDINGS}|{LAYER_0}|{MOVIE}"},
    "gradual": {0: ENCODER, 9: ENCODER, 10: TOP, 20: EMBEDDINGS, 30: "nothing"},
    "linear_probe_then_finetune": {0: ENCODER, 9: ENCODER, 10: "nothing"},
}
"""Option -> step -> the parameters that are frozen from then on, in epochs of ten steps."""


@pytest.mark.parametrize("name", options("freeze"))
def test_freeze_leaves_the_others_to_learn(name: str, tmp_path: Path) -> None:
    model = model_of(name, tmp_path)
    assert model.freezer is not None
    for step, pattern in FROZEN[name.partition("/")[2]].items():
        model.freezer.apply(model, step)
        named = dict(model.named_parameters())
        frozen = {key for key, parameter in named.items() if not parameter.requires_grad}
        assert frozen == {key for key in named if re.match(pattern, key)}, step


@pytest.mark.parametrize("name", options("adapter"))
def test_adapter_learns_in_place_of_the_encoder(name: str, tmp_path: Path) -> None:
    model, option = model_of(name, tmp_path), name.partition("/")[2]
    learn = {
        key: tuple(parameter.shape)
        for key, parameter in model.encoder.named_parameters()
        if parameter.requires_grad
    }
    if option == "none":
        assert set(learn) == set(dict(model.encoder.named_parameters()))
        return
    names = ["sentiment", "movie"] if option == "lora_per_task" else [SHARED]
    layers = [f"backbone.encoder.layer.{layer}.attention.self" for layer in range(DEPTH)]
    expected = {}
    for part in [f"{layer}.{kind}" for layer in layers for kind in ("query", "value")]:
        for adapter in names:
            expected[f"{part}.lora_A.{adapter}.weight"] = (8, 16)
            expected[f"{part}.lora_B.{adapter}.weight"] = (16, 8)
    assert learn == expected
    adapted = [module for _, module in adapted_modules(model.encoder)]
    scales = {scale for module in adapted for scale in module.scaling.values()}
    assert scales == {1.0}  # alpha / r
