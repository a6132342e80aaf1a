"""Token embeddings -> one sentence embedding.

Every pooling takes `hidden_BLD` (any floating dtype) and `mask_BL` (1 where a token is), works in
float32 or wider, answers in the dtype of `hidden_BLD`, and edits neither. Padding, on either side,
has no influence, whatever it holds. A row without tokens becomes zeros.

Shapes: B examples, L token positions, D encoder width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The mean over a text's tokens (Reimers & Gurevych 2019), (B, D)."""
    total_BD = _real(hidden_BLD, mask_BL).sum(1)
    return (total_BD / _num_tokens(mask_BL)).to(hidden_BLD.dtype)


def mean_sqrt_len(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The sum over a text's tokens, divided by the root of their number, (B, D)."""
    total_BD = _real(hidden_BLD, mask_BL).sum(1)
    return (total_BD / _num_tokens(mask_BL).sqrt()).to(hidden_BLD.dtype)


def weighted_mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The mean in which a text's t-th token counts t times (Muennighoff 2022), (B, D)."""
    rank_BL = mask_BL.bool().cumsum(1) * mask_BL.bool()
    total_BD = (_real(hidden_BLD, mask_BL) * rank_BL.unsqueeze(-1)).sum(1)
    return (total_BD / rank_BL.sum(1, keepdim=True).clamp(min=1)).to(hidden_BLD.dtype)


def maximum(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The largest value of each dimension over a text's tokens, (B, D)."""
    real_BL1 = mask_BL.bool().unsqueeze(-1)
    largest_BD = hidden_BLD.masked_fill(~real_BL1, float("-inf")).amax(1)
    return largest_BD.masked_fill(~real_BL1.any(1), 0.0)


def cls(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The embedding of a text's first token, which is [CLS] for BERT and its kin, (B, D)."""
    return _at(hidden_BLD, mask_BL, mask_BL.bool().int().argmax(1))


def last_token(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The embedding of a text's last token, (B, D)."""
    return _at(hidden_BLD, mask_BL, mask_BL.bool().int().cumsum(1).argmax(1))


class ClsPooler(nn.Module):
    """tanh of a linear layer of [CLS]: BERT's pooler (Devlin et al. 2019).

    Args:
        width: The encoder's width D.

    Attributes:
        dense: The linear layer; a checkpoint's own pooler is loaded into it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The sentence embeddings, (B, D)."""
        first_BD = cls(hidden_BLD, mask_BL).to(self.dense.weight.dtype)
        return torch.tanh(self.dense(first_BD)).to(hidden_BLD.dtype)


class AttentionPooling(nn.Module):
    """A mean whose weights are learnt: `softmax(v . tanh(W h_t + b))` (Yang et al. 2016).

    `v` starts at zero, so that the pooling starts as the mean.

    Args:
        width: The encoder's width D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The sentence embeddings, (B, D)."""
        real_BLD = _real(hidden_BLD, mask_BL)
        keys_BLD = torch.tanh(self.project(real_BLD.to(self.project.weight.dtype)))
        # No matrix product from here on: autocast would round it to half precision.
        scores_BL = (keys_BLD.float() * self.query.float()).sum(-1)
        lowest = torch.finfo(scores_BL.dtype).min
        weights_BL = scores_BL.masked_fill(~mask_BL.bool(), lowest).softmax(1)
        return (weights_BL.unsqueeze(-1) * real_BLD).sum(1).to(hidden_BLD.dtype)


def _real(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The embeddings in float32 or wider, with zeros where padding is."""
    wide = torch.promote_types(hidden_BLD.dtype, torch.float32)
    # Filled, not multiplied: padding may hold NaN, and 0 * NaN is NaN.
    return hidden_BLD.to(wide).masked_fill(~mask_BL.bool().unsqueeze(-1), 0.0)


def _num_tokens(mask_BL: Tensor) -> Tensor:
    """How many tokens each text has, (B, 1), at least 1."""
    return mask_BL.bool().sum(1, keepdim=True).clamp(min=1)


def _at(hidden_BLD: Tensor, mask_BL: Tensor, position_B: Tensor) -> Tensor:
    """The embedding at one position of each text, (B, D)."""
    rows_B = torch.arange(len(hidden_BLD), device=hidden_BLD.device)
    return hidden_BLD[rows_B, position_B].masked_fill(~mask_BL.bool().any(1, keepdim=True), 0.0)


class FunctionPooling(nn.Module):
    """A pooling without parameters as a module, so that a model can hold it.

    Args:
        function: `(hidden_BLD, mask_BL) -> sentence_BD`.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The sentence embeddings, (B, D)."""
        return self.function(hidden_BLD, mask_BL)
