"""Build a model from an encoder and a pooling without any training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from candelabra.build.model import build_backbone, load_encoder, load_tokenizer
from candelabra.bundle.bundle import Bundle
from candelabra.bundle.config import BundleConfig
from candelabra.data.loading import TaskData
from candelabra.data.rows.shapes import TEXT_WITH_LABEL, shape_of
from candelabra.errors import ConfigError, naming
from candelabra.model.assembly import assemble, start_from_pooler
from candelabra.model.heads.base import Head
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import ClsPooler
from candelabra.model.sentence_modules import SentenceModules


def untrained(
    cfg: DictConfig, tasks: dict[str, Any], data: dict[str, TaskData]
) -> tuple[Bundle, set[str]]:
    """Construct a model without training, with the heads that have no parameters.

    Args:
        cfg: Configuration with the groups `encoder` and `pooling`.
        tasks: Configuration of each task.
        data: Data of each task.

    Returns:
        The bundle, and the names of the tasks that it has a head for.

    Raises:
        ConfigError: A task needs a trained head and cannot be probed, or the pooling has untrained
            weights.
    """
    backbone = build_backbone(cfg.encoder)
    tokenizer = load_tokenizer(backbone, cfg.encoder)
    encoder = load_encoder(backbone, cfg.encoder)
    labels = {name: data[name].labels for name in tasks if name in data}
    headed = set()
    for name, node in tasks.items():
        with naming(f"tasks.{name}.head"):
            if name in labels and not _learns(node["head"], labels[name], encoder.width):
                headed.add(name)
    for name in labels.keys() - headed:
        if shape_of(tasks[name]["columns"]) != TEXT_WITH_LABEL:
            raise ConfigError(
                f"tasks.{name}: its head needs training, and its data are not labelled texts, "
                "which a probe could judge: give bundle=FOLDER in place of encoder"
            )
    kept = {name: tasks[name] for name in headed}
    model = assemble(encoder, pooling=cfg.pooling, tasks=kept, labels=labels, make=instantiate)
    _check_poolings(model)
    start_from_pooler(model)
    config = BundleConfig(
        pooling=dict(cfg.pooling),
        tasks=kept,
        max_length=tokenizer.max_length,
        truncation=tokenizer.truncation,
        normalize=cfg.get("normalize") is not False,
    )
    return Bundle(model.eval(), tokenizer, config, labels, {}), headed


def _learns(node: Mapping[str, Any], labels: list[str], width: int) -> bool:
    head: Head = instantiate(node)(width=width, labels=labels)
    return any(True for _ in head.parameters())


def _check_poolings(model: MultiTaskModel) -> None:
    """Raise `ConfigError` if a pooling has untrained weights, which would be random."""
    for pooling in (model.pooling, *model.poolings.values()):
        taken_over = isinstance(pooling, ClsPooler) and model.encoder.pooler is not None
        if isinstance(pooling, SentenceModules):
            taken_over = model.encoder.sentence_folder is not None
        if list(pooling.parameters()) and not taken_over:
            raise ConfigError(
                f"pooling: {type(pooling).__name__} has weights of its own, and an encoder without "
                "training brings none for them: choose another pooling, or give bundle=FOLDER"
            )
