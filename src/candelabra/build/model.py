"""Build the encoder and the multi-task model of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from candelabra.build.instantiate import Node, make
from candelabra.bundle.transfer import start_from
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError, naming
from candelabra.model.assembly import assemble, start_from_pooler
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel


def build_backbone(node: Node) -> Backbone:
    """Build the backbone without loading its encoder or tokenizer."""
    return make(node, "encoder")


def load_tokenizer(backbone: Backbone, node: Node) -> TextTokenizer:
    """Load the tokenizer of a backbone.

    Args:
        backbone: The backbone.
        node: Config node that it was built from.

    Raises:
        ConfigError: The tokenizer is missing or does not fit the settings.
    """
    with naming("encoder", node):
        return backbone.tokenizer()


def load_encoder(backbone: Backbone, node: Node) -> Encoder:
    """Load the encoder of a backbone with its weights.

    Args:
        backbone: The backbone.
        node: Config node that it was built from.

    Raises:
        ConfigError: The weights are missing or do not fit the settings.
    """
    with naming("encoder", node):
        return backbone.load()


def build_model(
    encoder: Encoder, labels: Mapping[str, list[str]], *, pooling: Node, tasks: Mapping[str, Node]
) -> MultiTaskModel:
    """Build the model: the encoder with its pooling, and a head with random weights per task.

    Args:
        encoder: Encoder that the tasks share.
        labels: Label names of each task.
        pooling: Config node of the default pooling.
        tasks: Config node of each task.
    """
    model = assemble(encoder, pooling=pooling, tasks=tasks, labels=labels, make=_partial)
    start_from_pooler(model)
    return model


def load_initial_weights(
    model: MultiTaskModel,
    labels: Mapping[str, list[str]],
    *,
    init_from: str | None,
    init_heads: Sequence[str] | None,
    pooling: DictConfig,
    tasks: DictConfig,
) -> None:
    """Load the weights of a bundle into the model; do nothing if no bundle is given.

    Args:
        model: Model whose weights are replaced.
        labels: Label names of each task.
        init_from: Folder of the bundle, or `None`.
        init_heads: Tasks whose heads are loaded; `None` loads those that fit.
        pooling: Config node of the default pooling.
        tasks: Config node of each task.
    """
    if init_from is None:
        return
    config = {"pooling": pooling, "tasks": tasks}
    model.origins = start_from(
        model,
        init_from,
        config={key: OmegaConf.to_container(node, resolve=True) for key, node in config.items()},
        labels=labels,
        heads=init_heads,
    )


def adapt_and_freeze(
    model: MultiTaskModel, *, adapter: Node, freeze: Node, steps_per_epoch: int
) -> None:
    """Attach the adapters, and freeze the model as in the first step.

    Args:
        model: Model with its initial weights.
        adapter: Config node of the adapter.
        freeze: Config node of the freeze scheme.
        steps_per_epoch: Number of optimizer steps in an epoch, because schemes count in epochs.

    Raises:
        ConfigError: If the scheme does not fit the model, or freezes all adapters.
    """
    encoder = model.encoder
    model.freezer = Freezer(make(freeze, "freeze"), steps_per_epoch=steps_per_epoch)
    with naming("adapter", adapter):
        make(adapter, "adapter").attach(encoder, list(model.heads))
    with naming("freeze", freeze):
        model.freezer.apply(model, 0)
        ever_trained = {id(parameter) for parameter in model.freezer.ever_learning(model)}
    in_encoder = {id(parameter) for parameter in encoder.parameters()}
    if encoder.adapters and not ever_trained & in_encoder:
        raise ConfigError(
            "the freeze option freezes all adapters, so the encoder would not learn at all: under "
            "adapters its own weights are fixed anyway; take freeze=none, or adapter=none"
        )


def _partial(node: Node) -> functools.partial[Any]:
    """Instantiate a node that must be a `functools.partial`."""
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        raise ConfigError(f"the option with _target_ {node['_target_']} needs `_partial_: true`")
    return made
