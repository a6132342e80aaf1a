"""Small random encoders of every kind, as modules and as folders."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.records import Tokens

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the bundled MiniLM's weights."""
COMMON = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**COMMON, max_position_embeddings=20),
    "mpnet": MPNetConfig(**COMMON, max_position_embeddings=20),
    "roberta": RobertaConfig(**COMMON, max_position_embeddings=20),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=20
    ),
    "modernbert": ModernBertConfig(
        **COMMON, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2
    ),
}


def random_encoder(kind: str) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(AutoModel.from_config(CONFIGS[kind]))


def random_tokens(length: int) -> Tokens:
    """Three texts; the second and third are shorter."""
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(3, 60, (3, length), generator=generator)
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, 3:] = mask_BL[2, 5:] = 0
    return Tokens(ids_BL, mask_BL)


def folder_of(kind: str, path: Path) -> Path:
    """A model's folder with a tokenizer in it."""
    tokenizer = Tiny().tokenizer().tokenizer
    config = deepcopy(CONFIGS[kind])
    config.vocab_size = len(tokenizer)
    AutoModel.from_config(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
