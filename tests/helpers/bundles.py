"""A small model with random weights, and what spoils its bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checksums import CHECKSUMS, write_checksums
from candelabra.bundle.config import BundleConfig
from candelabra.data.tokens import TextTokenizer
from candelabra.model.adapters import Lora
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.tagging import TaggingHead
from helpers.small_models import MakeHead, pooling_node, small_model

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
    heads: dict[str, MakeHead] = {
        "mood": partial(ClassificationHead, labels=LABELS["mood"]),
        "who": partial(TaggingHead, labels=LABELS["who"]),
    }
    own = {} if own_pooling is None else {"mood": own_pooling}
    model = small_model(heads, tiny.load(), pooling=pooling, poolings=own, spread=0.3)
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
            write_checksums(folder)  # so that the change is what is tested, and no checksum
