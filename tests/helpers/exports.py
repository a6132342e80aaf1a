"""Bundles to export, and a process that knows nothing of candelabra to open what comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from candelabra.bundle.bundle import Bundle
from candelabra.data.tokens import TextTokenizer
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.heads.base import Head
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from helpers.bundles import config_of
from helpers.small_models import pooling_node, small_encoder, small_model

LENGTH = 24
TAGS = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
MOODS = ["bad", "middling", "good"]
TEXTS = [
    "what 1995 romantic comedy starred michael douglas",
    "dull",
    "it's a film; and the plot, of course, is as long as ever " * 4,
    "Caf\u00e9 de Flore (2011), directed by Jean-Marc Vall\u00e9e!",
]
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
        kind: Architecture of the encoder.
        pooling: Pooling of the model, by its name in `conf/pooling`.
        own: Task -> its own pooling.
        mixed: Tasks whose heads use a mix of all layers.
        truncation: Part of a long text that is kept.
        tokenizer: Tokenizer in place of the bundled one.
        num_layers: Number of layers of the encoder.
        config: Further settings of the bundle.
    """
    tokenizer = tokenizer or Tiny().tokenizer().tokenizer
    own = dict(own or {})
    encoder = _encoder(kind, tokenizer, num_layers)
    model = small_model(
        {task: partial(_copy_of, head) for task, head in heads.items()},
        encoder,
        pooling=pooling,
        poolings=own,
        mixes={task: LayerMix(len(encoder.layers) + 1) for task in mixed},
        spread=0.3,
    )
    _spread_heads(model)
    nodes: dict[str, Any] = {task: {"head": _node(head)} for task, head in heads.items()}
    for task, name in own.items():
        nodes[task]["pooling"] = pooling_node(name)
    cutting = TextTokenizer(tokenizer, max_length=LENGTH, truncation=truncation)
    labels = {task: head.labels for task, head in heads.items()}
    stored = config_of(pooling_node(pooling), nodes, cutting, **config)
    return Bundle(model.eval(), cutting, stored, labels, {})


def _copy_of(head: Head, width: int) -> Head:
    assert head.width == width
    return deepcopy(head)


def _encoder(kind: str, tokenizer: PreTrainedTokenizerBase, num_layers: int) -> Encoder:
    """Return an encoder for the ids of a tokenizer, with room for its longest text."""
    pad = tokenizer.pad_token_id
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 40, "pad_token_id": pad}
    return small_encoder(kind, num_hidden_layers=num_layers, **sizes)


def _spread_heads(model: MultiTaskModel) -> None:
    """Set the weights of the heads, which callers made with random ones."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.heads.parameters():
            parameter.data.normal_(std=1.0 if parameter.dim() > 1 else 0.1)


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
