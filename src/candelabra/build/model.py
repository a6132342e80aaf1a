"""Build the encoder and the multi-task model of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from candelabra.build.trainer import Node
from candelabra.bundle.transfer import start_from
from candelabra.errors import ConfigError, naming
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel, assemble, start_from_pooler


def build_backbone(node: Node) -> Backbone:
    """Build the backbone without loading its encoder or tokenizer."""
    return instantiate(node)


def build_model(
    cfg: Node, labels: Mapping[str, list[str]], encoder: Encoder, *, steps_per_epoch: int = 1
) -> MultiTaskModel:
    """Build the model with its initial weights, frozen as in the first step."""
    freezer = Freezer(instantiate(cfg["freeze"]), steps_per_epoch=steps_per_epoch)
    built = assemble(
        encoder,
        pooling=cfg["pooling"],
        tasks=cfg["tasks"],
        labels=labels,
        make=_partial,
        freezer=freezer,
    )
    start_from_pooler(built)
    if cfg["init_from"] is not None:
        built.origins = start_from(
            built,
            cfg["init_from"],
            config={
                key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("pooling", "tasks")
            },
            labels=labels,
            heads=cfg["init_heads"],
        )
    with naming("adapter"):
        instantiate(cfg["adapter"]).attach(encoder, list(cfg["tasks"]))
    with naming("freeze"):
        freezer.apply(built, 0)
        ever_trained = {id(parameter) for parameter in freezer.some_day_learning(built)}
    if encoder.adapters and not ever_trained & {
        id(parameter) for parameter in encoder.parameters()
    }:
        raise ConfigError(
            "the freeze option freezes all adapters, so the encoder would not learn at all: under "
            "adapters its own weights are fixed anyway; take freeze=none, or adapter=none"
        )
    return built


def _partial(node: Node) -> functools.partial[Any]:
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        raise ConfigError(f"the option with _target_ {node['_target_']} needs `_partial_: true`")
    return made
