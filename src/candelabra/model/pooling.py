"""Poolings from token embeddings to one sentence embedding.

Every pooling takes `hidden_BLD` (any floating dtype) and `mask_BL` (1 for tokens, 0 for padding),
computes in float32 or wider and returns the dtype of `hidden_BLD`. Its arguments are not modified.
Padding may be on either side and may contain any values, including NaN, without influence on the
result. A text without tokens gets a zero vector.

Shapes: B examples, L token positions, D encoder width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


def mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute the mean of the token embeddings (Reimers & Gurevych 2019).

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> mean(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """
    total_BD = _real(hidden_BLD, mask_BL).sum(1)
    return (total_BD / _num_tokens(mask_BL)).to(hidden_BLD.dtype)


def mean_sqrt_len(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute the sum of the token embeddings divided by the square root of their number.

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> mean_sqrt_len(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[2.8284]])
    """
    total_BD = _real(hidden_BLD, mask_BL).sum(1)
    return (total_BD / _num_tokens(mask_BL).sqrt()).to(hidden_BLD.dtype)


def weighted_mean(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute the mean in which the t-th token has weight t (SGPT, Muennighoff 2022).

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> weighted_mean(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[2.3333]])
    """
    rank_BL = mask_BL.bool().cumsum(1) * mask_BL.bool()
    total_BD = (_real(hidden_BLD, mask_BL) * rank_BL.unsqueeze(-1)).sum(1)
    return (total_BD / rank_BL.sum(1, keepdim=True).clamp(min=1)).to(hidden_BLD.dtype)


def maximum(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Compute the maximum of each dimension over the tokens.

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> maximum(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[3.]])
    """
    real_BL1 = mask_BL.bool().unsqueeze(-1)
    largest_BD = hidden_BLD.masked_fill(~real_BL1, float("-inf")).amax(1)
    return largest_BD.masked_fill(~real_BL1.any(1), 0.0)


def cls(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Return the embedding of the first token, which is [CLS] in BERT-like models.

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> cls(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[1.]])
    """
    return _at(hidden_BLD, mask_BL, mask_BL.bool().int().argmax(1))


def last_token(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Return the embedding of the last token.

    Args:
        hidden_BLD: Token embeddings.
        mask_BL: 1 for tokens, 0 for padding.

    Returns:
        Sentence embeddings (B, D).

    Example:
        >>> hidden_BLD = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> last_token(hidden_BLD, torch.tensor([[1, 1, 0]]))
        tensor([[3.]])
    """
    return _at(hidden_BLD, mask_BL, mask_BL.bool().int().cumsum(1).argmax(1))


FIXED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "mean_sqrt_len": mean_sqrt_len,
    "weighted_mean": weighted_mean,
    "max": maximum,
    "cls": cls,
    "last_token": last_token,
}
"""Poolings that learn nothing, by their options of the group `pooling`.

Each returns the embedding of a text of one token as it is, so that a sentence embedding can replace
the tokens of a text.
"""


class ClsPooler(nn.Module):
    """BERT's pooler, tanh of a linear layer over the first token (Devlin et al. 2019).

    Args:
        width: Encoder width D.

    Attributes:
        dense: The linear layer, initialized from the checkpoint's own pooler if it has one.

    Example:
        >>> pooling = ClsPooler(width=4)
        >>> pooling(torch.ones(2, 3, 4), torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the sentence embeddings, (B, D)."""
        first_BD = cls(hidden_BLD, mask_BL).to(self.dense.weight.dtype)
        return torch.tanh(self.dense(first_BD)).to(hidden_BLD.dtype)


class AttentionPooling(nn.Module):
    """Mean with learned weights `softmax_t(v . tanh(W h_t + b))` (Yang et al. 2016).

    `v` is initialized to zero, so the pooling is initially the mean.

    Args:
        width: Encoder width D.

    Attributes:
        project: The linear layer with `W` and `b`.
        query: The vector `v`.

    Example:
        >>> pooling = AttentionPooling(width=1)  # initially the mean
        >>> pooling(torch.tensor([[[1.0], [3.0], [8.0]]]), torch.tensor([[1, 1, 0]])).detach()
        tensor([[2.]])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the sentence embeddings, (B, D)."""
        real_BLD = _real(hidden_BLD, mask_BL)
        keys_BLD = torch.tanh(self.project(real_BLD.to(self.project.weight.dtype)))
        # Autocast would round a matrix product to half precision, so multiply and sum instead.
        scores_BL = (keys_BLD.float() * self.query.float()).sum(-1)
        lowest = torch.finfo(scores_BL.dtype).min
        weights_BL = scores_BL.masked_fill(~mask_BL.bool(), lowest).softmax(1)
        return (weights_BL.unsqueeze(-1) * real_BLD).sum(1).to(hidden_BLD.dtype)


def _real(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Return the embeddings in float32 or wider, with zeros at padding."""
    wide = torch.promote_types(hidden_BLD.dtype, torch.float32)
    # Multiplying by the mask would keep NaN in padding, because 0 * NaN is NaN.
    return hidden_BLD.to(wide).masked_fill(~mask_BL.bool().unsqueeze(-1), 0.0)


def _num_tokens(mask_BL: Tensor) -> Tensor:
    """Return the number of tokens of each text, but at least 1, (B, 1)."""
    return mask_BL.bool().sum(1, keepdim=True).clamp(min=1)


def _at(hidden_BLD: Tensor, mask_BL: Tensor, position_B: Tensor) -> Tensor:
    """Return the embedding at one position of each text, zeros without tokens, (B, D)."""
    rows_B = torch.arange(len(hidden_BLD), device=hidden_BLD.device)
    return hidden_BLD[rows_B, position_B].masked_fill(~mask_BL.bool().any(1, keepdim=True), 0.0)


class FunctionPooling(nn.Module):
    """Module that wraps a pooling function without parameters.

    Args:
        function: Function (hidden_BLD, mask_BL) -> sentence_BD.

    Example:
        >>> pooling = FunctionPooling(maximum)
        >>> pooling(torch.tensor([[[1.0], [3.0], [8.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[3.]])
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the sentence embeddings, (B, D)."""
        return self.function(hidden_BLD, mask_BL)


def fixed_name(pooling: nn.Module) -> str | None:
    """Return the name of a pooling in `FIXED`, or `None` for other poolings.

    Example:
        >>> fixed_name(FunctionPooling(mean)), fixed_name(AttentionPooling(8))
        ('mean', None)
    """
    function = getattr(pooling, "function", None)
    if isinstance(function, partial) and not (function.args or function.keywords):
        function = function.func
    return next((name for name, fixed in FIXED.items() if fixed is function), None)


def out_width(pooling: nn.Module, width: int) -> int:
    """Return the width of the output of a pooling, or of a layer of it.

    Args:
        pooling: The module. Its attribute `out_width` is set if the output has another width than
            the input.
        width: Width of the input.

    Example:
        >>> out_width(FunctionPooling(mean), 8)
        8
    """
    return int(getattr(pooling, "out_width", width))
