"""Batches packed into one sequence without padding, against padded batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from candelabra.model.attention import MODEL_TYPES
from candelabra.records import Tokens
from helpers.attentions import encoder_of, loss_and_gradients, masks, tokens_of

every = pytest.mark.parametrize("kind", MODEL_TYPES)


@every
def test_single_texts_and_pairs_in_one_pass(kind: str) -> None:
    """Batches of several lengths and sides of padding, with every layer."""
    encoder, eager = encoder_of(kind, "blocks"), encoder_of(kind, "eager")
    right, left = tokens_of(masks()["right"], pairs=True), tokens_of(masks()["left"])
    short = Tokens(right.ids_BL[2:, :8], right.mask_BL[2:, :8])
    batches = [right, left, short]
    for found, tokens in zip(encoder.encode(batches, every_layer=True), batches, strict=True):
        expected = eager(tokens, every_layer=True)
        assert found.layers is not None
        assert expected.layers is not None
        for one, other in zip(found.layers, expected.layers, strict=True):
            real = tokens.mask_BL.bool()
            torch.testing.assert_close(one[real], other[real], rtol=1e-4, atol=1e-4)


def attend_from_bounds(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    cu_seq_lens_k: Tensor,
    max_length_q: int,
    max_length_k: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Do what variable-length flash attention documents, with a loop over the texts."""
    assert cu_seq_lens_q.dtype == cu_seq_lens_k.dtype == torch.int32
    assert attention_mask is None
    bounds, lengths = cu_seq_lens_q.tolist(), cu_seq_lens_k.diff().tolist()
    assert max_length_q == max_length_k == max(lengths)
    parts = []
    for begin, end in pairwise(bounds):
        q, k, v = (tensor[:, :, begin:end] for tensor in (query, key, value))
        parts.append(torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert bounds[-1] == query.shape[2]
    return torch.cat(parts, 2).transpose(1, 2), None


@pytest.mark.parametrize("kind", sorted({*MODEL_TYPES} - {"modernbert", "mpnet"}))
def test_the_bounds_of_the_texts_are_those_that_flash_attention_reads(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, tokens = "flash_attention_2", tokens_of(masks()["right"])
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, name, attend_from_bounds)
    expected = loss_and_gradients(encoder_of(kind, "eager"), tokens)
    flash = encoder_of(kind, "eager")
    flash.attention = flash.backbone.config._attn_implementation = name
    found = loss_and_gradients(flash, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_text_without_tokens_changes_nothing() -> None:
    encoder, mask_BL = encoder_of("bert", "blocks"), masks()["right"]
    tokens = tokens_of(mask_BL)
    whole_BLD = encoder(tokens).hidden_BLD
    mask_BL = mask_BL.clone()
    mask_BL[2] = 0
    hidden_BLD = encoder(Tokens(tokens.ids_BL, mask_BL)).hidden_BLD
    others = [0, 1, 3]
    torch.testing.assert_close(hidden_BLD[others], whole_BLD[others])
    assert encoder(Tokens(tokens.ids_BL, torch.zeros_like(mask_BL))).hidden_BLD.isfinite().all()
