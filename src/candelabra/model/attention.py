"""Attention on a CPU over packed texts: in training, and for MPNet in inference as well.

Shapes: T tokens of all texts, H heads, D width of a head; N texts of a block, M positions of its
longest text, G = N * H, L positions of the longest text of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
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
MPNET = "mpnet"
"""Architecture that calls this attention by modules of its own, see `candelabra.model.mpnet`."""
MODEL_TYPES = (
    "albert",
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "modernbert",
    MPNET,
    "roberta",
    "xlm-roberta",
)
"""Architectures whose results and gradients the tests compare with transformers' own attention."""
BLOCK_SCORES = 256 * 256
"""Scores of one head in a block, M * M for each text: a block then fits into the cache."""


@dataclass(frozen=True)
class Block:
    """Neighbouring texts of the sequence that are computed together.

    Attributes:
        tokens: The tokens of the texts.
        num_texts: Number of texts (N).
        length: Number of tokens of the longest text (M).
        places: Place of each token in the padded texts, N * M; `None` if there is no padding.
        hidden: True for keys that a query must not attend to, broadcastable to (N, 1, M, M);
            `None` if there are none.
    """

    tokens: slice
    num_texts: int
    length: int
    places: Tensor | None
    hidden: Tensor | None


def supports_blocks(backbone: PreTrainedModel) -> bool:
    """Return whether this attention gives the results of the backbone's own.

    An architecture outside the attention interface would accept the name with a warning and then
    compute something else. MPNet is one, and calls this attention by modules of its own.
    """
    config = backbone.config
    return bool(
        (supports_other_attention(backbone) or config.model_type == MPNET)
        and config.model_type in MODEL_TYPES
        and not getattr(config, "is_decoder", False)
    )


@cache
def register() -> None:
    """Register the attention in transformers' interfaces; it takes no mask."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, blocks_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(**_: Any) -> None:
    """Return no mask: the lengths of the texts come to the attention itself as an argument."""


def blocks_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    text_lengths: Sequence[int],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    bias_HLL: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute bidirectional attention within each text, with the signature of transformers.

    Args:
        module: The calling layer; unused.
        query: Queries (1, H, T, D).
        key: Keys (1, H, T, D).
        value: Values (1, H, T, D).
        attention_mask: Unused, since a sequence has no padding.
        text_lengths: Number of tokens of each text of the sequence; their sum is T.
        scaling: Factor of the scores; 1 / sqrt(D) by default.
        dropout: Probability that an attention probability is dropped.
        sliding_window: Keys must be nearer to their query than this; `None` for no limit.
        bias_HLL: Bias of the scores between two positions of a text, for L positions or more.

    Returns:
        Output (1, T, H, D), and `None` in place of the probabilities, which are not kept.
    """
    device = query.device.type
    heads_THD = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        heads_THD = [tensor.to(dtype) for tensor in heads_THD]
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    blocks = blocks_of(text_lengths, sliding_window)
    with torch.autocast(device, enabled=False):
        output_THD: Tensor = _BlockAttention.apply(*heads_THD, bias_HLL, factor, dropout, blocks)
    return output_THD[None], None


def blocks_of(lengths: Sequence[int], sliding_window: int | None = None) -> list[Block]:
    """Divide a sequence of texts into blocks of neighbours, each within `BLOCK_SCORES`.

    Args:
        lengths: Number of tokens of each text.
        sliding_window: Keys must be nearer to their query than this; `None` for no limit.

    Returns:
        The blocks. A text that is longer than the limit has a block of its own.
    """
    groups: list[list[int]] = []
    longest = 0
    for length in lengths:
        longest = max(longest, length)
        if groups and (len(groups[-1]) + 1) * longest**2 <= BLOCK_SCORES:
            groups[-1].append(length)
        else:
            groups.append([length])
            longest = length
    ends = [0, *accumulate(map(sum, groups))]
    return [
        _block(start, group, sliding_window) for start, group in zip(ends, groups, strict=False)
    ]


def _block(start: int, lengths: Sequence[int], sliding_window: int | None) -> Block:
    longest, places, hidden = max(lengths), None, None
    if min(lengths) < longest:
        padding_NM = torch.arange(longest) >= torch.tensor(lengths)[:, None]
        places, hidden = (~padding_NM).flatten().nonzero()[:, 0], padding_NM[:, None, None]
    if sliding_window is not None and sliding_window < longest:
        positions = torch.arange(longest)
        far_MM = (positions[:, None] - positions).abs() >= sliding_window
        hidden = far_MM if hidden is None else hidden | far_MM
    tokens = slice(start, start + sum(lengths))
    return Block(tokens, len(lengths), longest, places, hidden)


class _BlockAttention(torch.autograd.Function):
    """Attention whose backward pass keeps the probabilities in the type of the inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias_HLL: Tensor | None,
        scaling: float,
        dropout: float,
        blocks: Sequence[Block],
    ) -> Tensor:
        """Return the attention output (T, H, D) of query, key and value (T, H, D)."""
        output = torch.empty_like(value, memory_format=torch.contiguous_format)
        kept: list[Tensor] = []
        has_backward = any(ctx.needs_input_grad)
        ctx.factor = 1.0
        for block in blocks:
            q_GMD, k_GMD, v_GMD = (_take(tensor, block) for tensor in (query, key, value))
            scores_GMM = torch.bmm(q_GMD * scaling, k_GMD.mT)
            if bias_HLL is not None:
                _of_heads(scores_GMM, block).add_(bias_HLL[:, : block.length, : block.length])
            _hide_(scores_GMM, block)
            probs_GMM = torch.softmax(scores_GMM, -1)
            if has_backward:
                kept.append(probs_GMM)
            if dropout:
                keep, ctx.factor = draw_keep_bits(probs_GMM.shape, dropout, probs_GMM.dtype)
                if has_backward:
                    kept.append(keep)
                probs_GMM = apply_keep_bits_(probs_GMM.clone(), keep)
            _put_(output, block, torch.bmm(probs_GMM, v_GMD))
        ctx.save_for_backward(query, key, value, bias_HLL, *kept)
        ctx.scaling, ctx.blocks, ctx.drops = scaling, blocks, bool(dropout)
        return output.mul_(ctx.factor) if dropout else output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of query, key, value and bias; the other inputs have none."""
        query, key, value, bias_HLL, *kept = ctx.saved_tensors
        grads = [torch.empty_like(grad, memory_format=torch.contiguous_format) for _ in range(3)]
        dbias_HLL = torch.zeros_like(bias_HLL) if ctx.needs_input_grad[3] else None
        grad_THD = grad * ctx.factor if ctx.drops else grad
        stored = iter(kept)
        for block in ctx.blocks:
            q_GMD, k_GMD, v_GMD = (_take(tensor, block) for tensor in (query, key, value))
            grad_GMD, probs_GMM = _take(grad_THD, block), next(stored)
            dprobs_GMM, dropped_GMM = torch.bmm(grad_GMD, v_GMD.mT), probs_GMM
            if ctx.drops:
                keep = next(stored)
                apply_keep_bits_(dprobs_GMM, keep)
                dropped_GMM = apply_keep_bits_(probs_GMM.clone(), keep)
            dscores_GMM = torch.ops.aten._softmax_backward_data(
                dprobs_GMM, probs_GMM, -1, probs_GMM.dtype
            )
            if dbias_HLL is not None:
                dbias_HMM = _of_heads(dscores_GMM, block).sum(0, dtype=dbias_HLL.dtype)
                dbias_HLL[:, : block.length, : block.length] += dbias_HMM
            _put_(grads[0], block, torch.bmm(dscores_GMM, k_GMD).mul_(ctx.scaling))
            _put_(grads[1], block, torch.bmm(dscores_GMM.mT, q_GMD).mul_(ctx.scaling))
            _put_(grads[2], block, torch.bmm(dropped_GMM.mT, grad_GMD))
        return (*grads, dbias_HLL, None, None, None)


def _take(tensor_THD: Tensor, block: Block) -> Tensor:
    """Copy a block as (G, M, D), with zeros for padding."""
    part_THD = tensor_THD[block.tokens]
    if block.places is not None:
        padded = part_THD.new_zeros(block.num_texts * block.length, *part_THD.shape[1:])
        part_THD = padded.index_copy_(0, block.places, part_THD)
    part_NMHD = part_THD.view(block.num_texts, block.length, *part_THD.shape[1:])
    return part_NMHD.transpose(1, 2).reshape(-1, block.length, part_THD.shape[-1])


def _put_(output_THD: Tensor, block: Block, part_GMD: Tensor) -> None:
    """Write a block (G, M, D) to its place."""
    part_NHMD = part_GMD.view(block.num_texts, -1, *part_GMD.shape[1:])
    part_NMHD = part_NHMD.transpose(1, 2)
    place_THD = output_THD[block.tokens]
    if block.places is None:
        place_THD.view(part_NMHD.shape).copy_(part_NMHD)
    else:
        torch.index_select(part_NMHD.flatten(0, 1), 0, block.places, out=place_THD)


def _of_heads(scores_GMM: Tensor, block: Block) -> Tensor:
    """Return a view (N, H, M, M) of the scores of a block."""
    return scores_GMM.view(block.num_texts, -1, block.length, block.length)


def _hide_(scores_GMM: Tensor, block: Block) -> None:
    """Set the scores of hidden keys to the lowest number; infinity makes an empty row NaN."""
    if block.hidden is not None:
        scores = _of_heads(scores_GMM, block)
        scores.masked_fill_(block.hidden, torch.finfo(scores.dtype).min)
