"""Encoders that differ in their attention alone, texts for them, and what they compute."""

from __future__ import annotations

import torch
from torch import Tensor

from candelabra.model.encoder import Encoder
from candelabra.records import Tokens
from helpers.small_models import small_encoder

LOCAL = {"modernbert": {"local_attention": 4, "global_attn_every_n_layers": 3}}
"""Its layers 1 and 2 see two positions to each side."""
LENGTH = 12


def encoder_of(kind: str, attention: str, *, spread: float = 0.5, dropped: float = 0.0) -> Encoder:
    """The same weights for every kind of attention; those of a wide spread make it uneven.

    Only probabilities of the attention are dropped.
    """
    rates = dict.fromkeys(("hidden_dropout_prob", "dropout"), 0.0)
    rates |= dict.fromkeys(("attention_probs_dropout_prob", "attention_dropout"), dropped)
    settings = {"initializer_range": spread, "pad_token_id": 0, **rates, **LOCAL.get(kind, {})}
    encoder = small_encoder(kind, attention=attention, **settings)
    if attention == "eager":
        encoder.backbone.set_attn_implementation("eager")
    return encoder.train()


def masks() -> dict[str, Tensor]:
    full_BL = torch.ones(4, LENGTH, dtype=torch.long)
    right_BL = (torch.arange(LENGTH)[None] < torch.tensor([[5], [12], [1], [7]])).long()
    holes_BL = right_BL.clone()
    holes_BL[1, 2:6] = 0
    return {"full": full_BL, "right": right_BL, "left": right_BL.flip(1), "holes": holes_BL}


def tokens_of(mask_BL: Tensor, *, pairs: bool = False) -> Tokens:
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(3, 60, mask_BL.shape, generator=generator)
    types_BL = (torch.arange(LENGTH)[None] > 3).long() * mask_BL if pairs else None
    return Tokens(ids_BL, mask_BL, types_BL)


def loss_and_gradients(
    encoder: Encoder, tokens: Tokens, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, dict[str, Tensor]]:
    """A loss of all real positions, with other weights for every number."""
    encoder.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden_BLD = encoder(tokens).hidden_BLD.float()
    weights_BLD = torch.randn(hidden_BLD.shape, generator=torch.Generator().manual_seed(2))
    loss = (hidden_BLD * weights_BLD * tokens.mask_BL[..., None]).sum()
    loss.backward()
    named = encoder.named_parameters()
    return loss.detach(), {name: p.grad for name, p in named if p.grad is not None}
