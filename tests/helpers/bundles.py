"""A small model with random weights, and what spoils its bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checksums import CHECKSUMS, write_checksums
from candelabra.bundle.config import BundleConfig
from candelabra.config.targets import conf_dir
from candelabra.data.tokens import TextTokenizer
from candelabra.model.adapters import Lora
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling

LABELS = {"mood": ["NEGATIVE", "POSITIVE"], "who": ["O", "B-Actor", "I-Actor", "B-Year"]}
MOOD = {"_target_": "candelabra.model.heads.ClassificationHead", "_partial_": True, "dropout": 0.1}
WHO = {"_target_": "candelabra.model.heads.TaggingHead", "_partial_": True, "constrained": True}


def adapt(encoder: Encoder, tasks: Sequence[str] = tuple(LABELS), **settings: Any) -> Encoder:
    """With adapters that change something, which new ones do not."""
    Lora(**settings).attach(encoder, tasks)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in encoder.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    return encoder.eval()


def pooling_node(name: str) -> dict[str, Any]:
    lines = (conf_dir() / "pooling" / f"{name}.yaml").read_text().splitlines()
    (target,) = (line.split(": ")[1] for line in lines if line.startswith("_target_"))
    return {"_target_": target, "_partial_": True}


def pooling_module(name: str, width: int) -> torch.nn.Module:
    target = get_object(pooling_node(name)["_target_"])
    return target(width=width) if isinstance(target, type) else FunctionPooling(partial(target))


def config_of(
    pooling: dict[str, Any], tasks: dict[str, Any], tokenizer: TextTokenizer, **more: Any
) -> BundleConfig:
    cut = {"max_length": tokenizer.max_length, "truncation": tokenizer.truncation}
    return BundleConfig(pooling=pooling, tasks=tasks, **cut, **more)


def made(
    pooling: str = "mean", own_pooling: str | None = None, *, truncation: str = "head"
) -> Bundle:
    """A model with random weights that are nobody's default, and what goes with it."""
    tiny = Tiny(max_length=32, width=16, truncation=truncation)
    encoder = tiny.load()
    heads = {"mood": ClassificationHead(16, LABELS["mood"]), "who": TaggingHead(16, LABELS["who"])}
    poolings = {} if own_pooling is None else {"mood": pooling_module(own_pooling, 16)}
    model = MultiTaskModel(encoder, heads, pooling=pooling_module(pooling, 16), poolings=poolings)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    tasks: dict[str, Any] = {"mood": {"head": MOOD}, "who": {"head": WHO}}
    if own_pooling is not None:
        tasks["mood"]["pooling"] = pooling_node(own_pooling)
    config = config_of(pooling_node(pooling), tasks, tiny.tokenizer())
    return Bundle(model.eval(), tiny.tokenizer(), config, LABELS, {"val/score": 0.5})


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))
    for folder in (file.parent, file.parent.parent):
        if (folder / CHECKSUMS).is_file():
            write_checksums(folder)  # so that what is tested is what stands there
