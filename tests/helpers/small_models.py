"""Small models with random weights: encoders of every architecture, and heads over one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from candelabra.config.targets import conf_dir
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads.base import Head
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling
from candelabra.records import Tokens

KINDS = ("bert", "mpnet", "roberta", "distilbert", "modernbert")
"""An architecture of each family of layers."""
WIDTH = 16
SIZES = {
    "vocab_size": 60,
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
}
MARKS = {
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 1),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 2),
}
OWN = {
    "distilbert": {"hidden_dim": 32},
    "electra": {"embedding_size": WIDTH},
    "modernbert": {"pad_token_id": 0, **MARKS},
}
"""Settings with another name, and ids that would be outside of the small vocabulary."""

MakeHead = Callable[[int], Head]

POOLINGS = [file.stem for file in sorted((conf_dir() / "pooling").glob("*.yaml"))]
"""Options of the pooling."""


def small_config(kind: str = "bert", **settings: Any) -> PreTrainedConfig:
    """Return the configuration of a small encoder.

    Args:
        kind: Architecture, as transformers names it.
        settings: Settings of the configuration that differ from `SIZES`.
    """
    return CONFIG_MAPPING[kind](**{**SIZES, **OWN.get(kind, {}), **settings})


def small_backbone(kind: str = "bert", *, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Return a small model of transformers, with the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModel.from_config(small_config(kind, **settings))


def small_encoder(
    kind: str = "bert", *, attention: str = "auto", seed: int = 0, **settings: Any
) -> Encoder:
    """Return a small encoder, with the same weights for the same seed."""
    return Encoder(small_backbone(kind, seed=seed, **settings), attention=attention)


def save_encoder(
    folder: Path,
    kind: str = "bert",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **settings: Any,
) -> Path:
    """Save a small encoder and its tokenizer, by default the bundled one; return the folder."""
    tokenizer = tokenizer or Tiny().tokenizer().tokenizer
    model = small_backbone(kind, **{"vocab_size": len(tokenizer), **settings})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_level(
    texts: Sequence[str], *, vocab_size: int = 600, trim_offsets: bool = True
) -> PreTrainedTokenizerFast:
    """Return a small tokenizer of RoBERTa's kind, which does not mark words, trained on texts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*texts] * 3, trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=True
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def small_model(
    heads: Mapping[str, MakeHead],
    encoder: Encoder | None = None,
    *,
    pooling: str | torch.nn.Module = "mean",
    poolings: Mapping[str, str | torch.nn.Module] | None = None,
    mixes: Mapping[str, LayerMix] | None = None,
    freezer: Freezer | None = None,
    seed: int = 0,
    spread: float = 0.0,
) -> MultiTaskModel:
    """Return a model with these heads, with the same weights for the same seed.

    Args:
        heads: Task -> function that makes its head for the width of the encoder.
        encoder: Encoder; by default a small BERT.
        pooling: Pooling of the model, or its name in `conf/pooling`.
        poolings: Task -> its own pooling, or the name of it.
        mixes: Task -> its mix of all layers.
        freezer: What sets `requires_grad`.
        seed: Seed of the weights of heads and poolings.
        spread: Standard deviation of the noise on all weights, which are then nobody's defaults.
    """
    encoder = small_encoder(seed=seed) if encoder is None else encoder
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MultiTaskModel(
            encoder,
            {task: make(encoder.width) for task, make in heads.items()},
            pooling=pooling_module(pooling, encoder.width),
            poolings={
                task: pooling_module(own, encoder.width) for task, own in (poolings or {}).items()
            },
            mixes=mixes,
            freezer=freezer,
        )
        if spread:
            for parameter in model.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=spread)
    return model


def pooling_node(name: str) -> dict[str, Any]:
    """Return the settings of a pooling of `conf/pooling`."""
    lines = (conf_dir() / "pooling" / f"{name}.yaml").read_text().splitlines()
    (target,) = (line.split(": ")[1] for line in lines if line.startswith("_target_"))
    return {"_target_": target, "_partial_": True}


def pooling_module(pooling: str | torch.nn.Module, width: int) -> torch.nn.Module:
    """Return a pooling as it is, or the one that `conf/pooling` has under a name."""
    if isinstance(pooling, torch.nn.Module):
        return pooling
    target = get_object(pooling_node(pooling)["_target_"])
    return target(width=width) if isinstance(target, type) else FunctionPooling(partial(target))


def random_tokens(length: int) -> Tokens:
    """Three texts; the second and third are shorter."""
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(3, 60, (3, length), generator=generator)
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, 3:] = mask_BL[2, 5:] = 0
    return Tokens(ids_BL, mask_BL)
