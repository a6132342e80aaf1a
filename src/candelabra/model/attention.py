"""Attention for training on a CPU: text by text, so that no padding is computed.

Shapes: B texts, H heads, L token positions, D width of a head; N texts of a block times heads, M
positions of the longest text of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from candelabra.model.dropout import apply_keep_bits_, draw_keep_bits
from candelabra.model.internals import supports_other_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "blocks"
"""Name of this attention in transformers' attention interface."""
MODEL_TYPES = (
    "albert",
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "modernbert",
    "roberta",
    "xlm-roberta",
)
"""Architectures whose results and gradients the tests compare with transformers' own attention."""
BLOCK_SCORES = 256 * 256
"""Scores of one head in a block, M * M for each text: a block then fits into the cache."""


@dataclass(frozen=True)
class Block:
    """Neighbouring texts of a batch that are computed together.

    Attributes:
        rows: The texts.
        length: Number of positions up to the last token of the longest text (M).
        allowed: Which keys a query may attend to, broadcastable to (texts, M, M); `None` for all.
    """

    rows: slice
    length: int
    allowed: Tensor | None


def supports_blocks(backbone: PreTrainedModel) -> bool:
    """Return whether this attention gives the results of the backbone's own.

    An architecture outside the attention interface, such as MPNet, would accept the name with a
    warning and then ignore its relative positions.
    """
    config = backbone.config
    return bool(
        supports_other_attention(backbone)
        and config.model_type in MODEL_TYPES
        and not getattr(config, "is_decoder", False)
    )


@cache
def register() -> None:
    """Register the attention and its mask in transformers' interfaces."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, blocks_attention)
    AttentionMaskInterface.register(NAME, _padding_mask)


def _padding_mask(*, attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """Return the padding mask mask_BL as it is; transformers makes one of (B, 1, L, L) by default.

    The sliding window comes to the attention itself as an argument.
    """
    return attention_mask


def blocks_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute bidirectional attention in blocks of texts, with the signature of transformers.

    The output at padding is zero or depends on padding alone; nothing reads it.

    Args:
        module: The calling layer; unused.
        query: Queries (B, H, L, D).
        key: Keys (B, H, L, D).
        value: Values (B, H, L, D).
        attention_mask: mask_BL, true for tokens; `None` if there is no padding.
        scaling: Factor of the scores; 1 / sqrt(D) by default.
        dropout: Probability that an attention probability is dropped.
        sliding_window: Keys must be nearer to their query than this; `None` for no limit.

    Returns:
        Output (B, L, H, D), and `None` in place of the probabilities, which are not kept.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    blocks = blocks_of(attention_mask, query.shape[0], query.shape[2], sliding_window)
    with torch.autocast(device, enabled=False):
        output: Tensor = _BlockAttention.apply(query, key, value, factor, dropout, blocks)
    return output, None


def blocks_of(
    mask_BL: Tensor | None, num_texts: int, length: int, sliding_window: int | None = None
) -> list[Block]:
    """Divide a batch into blocks of neighbouring texts.

    Args:
        mask_BL: True for tokens; `None` if there is no padding.
        num_texts: Number of texts (B).
        length: Number of positions (L).
        sliding_window: Keys must be nearer to their query than this; `None` for no limit.

    Returns:
        The blocks. A text that is all padding has no block of its own length, but at least 1.
    """
    if mask_BL is None:
        ends = [length] * num_texts
    else:
        places_L = torch.arange(1, length + 1, device=mask_BL.device)
        ends = (mask_BL * places_L).amax(1).clamp(min=1).tolist()
    return [
        Block(rows, longest, _allowed(mask_BL, rows, longest, sliding_window))
        for rows, longest in _neighbours(ends)
    ]


def _neighbours(lengths: Sequence[int]) -> list[tuple[slice, int]]:
    """Return runs of texts within `BLOCK_SCORES`, each with its greatest length."""
    runs: list[tuple[slice, int]] = []
    for place, length in enumerate(lengths):
        if runs:
            rows, longest = runs[-1]
            longest = max(longest, length)
            if (place + 1 - rows.start) * longest**2 <= BLOCK_SCORES:
                runs[-1] = (slice(rows.start, place + 1), longest)
                continue
        runs.append((slice(place, place + 1), length))
    return runs


def _allowed(
    mask_BL: Tensor | None, rows: slice, length: int, sliding_window: int | None
) -> Tensor | None:
    allowed = None
    if mask_BL is not None:
        tokens_BM = mask_BL[rows, :length].bool()
        allowed = None if tokens_BM.all() else tokens_BM[:, None, :]
    if sliding_window is not None and sliding_window < length:
        places_M = torch.arange(length, device=None if mask_BL is None else mask_BL.device)
        near_MM = (places_M[:, None] - places_M[None]).abs() < sliding_window
        allowed = near_MM[None] if allowed is None else allowed & near_MM
    return allowed


class _BlockAttention(torch.autograd.Function):
    """Attention whose backward pass keeps the probabilities in the type of the inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        dropout: float,
        blocks: Sequence[Block],
    ) -> Tensor:
        """Return the attention output (B, L, H, D) of query, key and value (B, H, L, D)."""
        output = torch.zeros_like(value.transpose(1, 2), memory_format=torch.contiguous_format)
        kept: list[Tensor] = []
        ctx.factor = 1.0
        for block in blocks:
            q_NMD, k_NMD, v_NMD = (_take(tensor, block) for tensor in (query, key, value))
            scores_NMM = torch.bmm(q_NMD * scaling, k_NMD.mT)
            _hide_(scores_NMM, block)
            probs_NMM = torch.softmax(scores_NMM, -1)
            kept.append(probs_NMM)
            if dropout:
                keep, ctx.factor = draw_keep_bits(probs_NMM.shape, dropout, probs_NMM.dtype)
                kept.append(keep)
                probs_NMM = apply_keep_bits_(probs_NMM.clone(), keep)
            _put_(output, block, torch.bmm(probs_NMM, v_NMD))
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scaling, ctx.blocks, ctx.drops = scaling, blocks, bool(dropout)
        return output.mul_(ctx.factor) if dropout else output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of query, key and value; the other inputs have none."""
        query, key, value, *kept = ctx.saved_tensors
        grads = [torch.zeros_like(grad, memory_format=torch.contiguous_format) for _ in range(3)]
        grad_BHLD = (grad * ctx.factor if ctx.drops else grad).transpose(1, 2)
        stored = iter(kept)
        for block in ctx.blocks:
            q_NMD, k_NMD, v_NMD = (_take(tensor, block) for tensor in (query, key, value))
            grad_NMD, probs_NMM = _take(grad_BHLD, block), next(stored)
            dprobs_NMM, dropped_NMM = torch.bmm(grad_NMD, v_NMD.mT), probs_NMM
            if ctx.drops:
                keep = next(stored)
                apply_keep_bits_(dprobs_NMM, keep)
                dropped_NMM = apply_keep_bits_(probs_NMM.clone(), keep)
            dscores_NMM = torch.ops.aten._softmax_backward_data(
                dprobs_NMM, probs_NMM, -1, probs_NMM.dtype
            )
            _put_(grads[0], block, torch.bmm(dscores_NMM, k_NMD).mul_(ctx.scaling))
            _put_(grads[1], block, torch.bmm(dscores_NMM.mT, q_NMD).mul_(ctx.scaling))
            _put_(grads[2], block, torch.bmm(dropped_NMM.mT, grad_NMD))
        return (*(tensor.transpose(1, 2) for tensor in grads), None, None, None)


def _take(tensor_BHLD: Tensor, block: Block) -> Tensor:
    """Copy a block as (N, M, D)."""
    part = tensor_BHLD[block.rows, :, : block.length]
    return part.reshape(-1, block.length, part.shape[-1])


def _put_(output_BLHD: Tensor, block: Block, part_NMD: Tensor) -> None:
    """Write a block (N, M, D) to its place."""
    place = output_BLHD[block.rows, : block.length]
    shape = (place.shape[0], -1, block.length, part_NMD.shape[-1])
    place.copy_(part_NMD.view(shape).transpose(1, 2))


def _hide_(scores_NMM: Tensor, block: Block) -> None:
    """Set the scores of forbidden keys to the lowest number; infinity makes an empty row NaN."""
    if block.allowed is not None:
        num_texts = block.rows.stop - block.rows.start
        scores = scores_NMM.view(num_texts, -1, block.length, block.length)
        scores.masked_fill_(~block.allowed[:, None], torch.finfo(scores.dtype).min)
