"""Bundles to export, and a process that knows nothing of candelabra to open what comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, CamembertConfig, PreTrainedTokenizerBase, XLMRobertaConfig

from candelabra.bundle.bundle import Bundle
from candelabra.data.tokens import TextTokenizer
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.heads.base import Head
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from helpers.bundles import config_of, pooling_module, pooling_node
from helpers.random_encoders import COMMON, CONFIGS

WIDTH, LENGTH = 16, 24
TAGS = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
MOODS = ["bad", "middling", "good"]
TEXTS = [
    "what 1995 romantic comedy starred michael douglas",
    "dull",
    "it's a film; and the plot, of course, is as long as ever " * 4,
    "Caf\u00e9 de Flore (2011), directed by Jean-Marc Vall\u00e9e!",
]
KINDS = {
    **CONFIGS,
    "xlm-roberta": XLMRobertaConfig(**COMMON),
    "camembert": CamembertConfig(**COMMON),
}
FOREIGN = """
import sys
sys.modules["candelabra"] = None  # whoever imports it fails
{script}
assert sys.modules["candelabra"] is None
assert not [name for name in sys.modules if name.startswith("candelabra.")]
"""


def bundle_of(
    heads: Mapping[str, Head],
    *,
    kind: str = "bert",
    pooling: str = "mean",
    own: Mapping[str, str] | None = None,
    mixed: Iterable[str] = (),
    truncation: str = "head",
    tokenizer: PreTrainedTokenizerBase | None = None,
    num_layers: int = 2,
    **config: Any,
) -> Bundle:
    """A small model with random weights that are nobody's default.

    Args:
        heads: A head for each task.
        kind: Of the encoder, one of `KINDS`.
        pooling: The run's.
        own: Of the tasks that pool in another way.
        mixed: The tasks that read a mix of all layers.
        truncation: The bundle's.
        tokenizer: In place of the bundled one.
        num_layers: Of the encoder.
        config: Further settings of the bundle.
    """
    tokenizer = tokenizer or Tiny().tokenizer().tokenizer
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 40}
    settings = {**KINDS[kind].to_dict(), **sizes, "pad_token_id": tokenizer.pad_token_id}
    if settings["model_type"] != "modernbert":  # which lists its layers
        settings["num_hidden_layers"] = num_layers
    own = dict(own or {})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder = Encoder(AutoModel.from_config(type(KINDS[kind]).from_dict(settings)))
        model = MultiTaskModel(
            encoder,
            deepcopy(dict(heads)),
            pooling=pooling_module(pooling, WIDTH),
            poolings={task: pooling_module(name, WIDTH) for task, name in own.items()},
            mixes={task: LayerMix(len(encoder.layers) + 1) for task in mixed},
        )
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
        for parameter in model.heads.parameters():  # they come with any weights
            parameter.data.normal_(std=1.0 if parameter.dim() > 1 else 0.1)
    nodes: dict[str, Any] = {task: {"head": _node(head)} for task, head in heads.items()}
    for task, name in own.items():
        nodes[task]["pooling"] = pooling_node(name)
    cutting = TextTokenizer(tokenizer, max_length=LENGTH, truncation=truncation)
    return Bundle(
        model.eval(),
        cutting,
        config_of(pooling_node(pooling), nodes, cutting, **config),
        {task: head.labels for task, head in heads.items()},
        {},
    )


def _node(head: Head) -> dict[str, Any]:
    return {"_target_": f"candelabra.model.heads.{type(head).__name__}", "_partial_": True}


def foreign(script: str, *arguments: str, folder: Path) -> tuple[Any, str]:
    """What a script without candelabra prints as its last line of JSON, and its stderr."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN.format(script=script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr
