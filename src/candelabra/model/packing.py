"""Packing of padded batches: the tokens of all texts in one sequence without padding.

Shapes: B texts of a batch, L token positions, T tokens of all texts, D encoder width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor, nn

from candelabra.model import attention as blocks
from candelabra.records import Tokens


@dataclass(frozen=True)
class Packing:
    """Places of the tokens of some batches in one sequence, where texts of similar length meet.

    Attributes:
        shapes: Number of texts and of positions (B, L) of each batch.
        lengths: Number of tokens of each text of the sequence, in ascending order.
        places_T: Place of each token of the sequence in the batches, flattened and concatenated.
    """

    shapes: tuple[torch.Size, ...]
    lengths: tuple[int, ...]
    places_T: Tensor

    @classmethod
    def of(cls, masks: Sequence[Tensor]) -> Self:
        """Return the packing of batches.

        Args:
            masks: mask_BL of each batch, true for tokens; padding is at either end of a text. A
                text without tokens keeps its first position, so that no sequence is empty.

        Example:
            >>> packing = Packing.of([torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])])
            >>> packing.lengths, packing.places_T
            ((1, 3), tensor([4, 0, 1, 2]))
        """
        real = [_with_a_token(mask_BL.bool()) for mask_BL in masks]
        lengths_B = torch.cat([real_BL.sum(1) for real_BL in real])
        order_B = lengths_B.argsort(stable=True)
        ranks_T = order_B.argsort().repeat_interleave(lengths_B)
        places_T = torch.cat([real_BL.flatten() for real_BL in real]).nonzero()[:, 0]
        shapes = tuple(mask_BL.shape for mask_BL in masks)
        lengths = tuple(lengths_B[order_B].tolist())
        return cls(shapes, lengths, places_T[ranks_T.argsort(stable=True)])

    def pack(self, batches: Sequence[Tensor]) -> Tensor:
        """Return the values (1, T, ...) at the tokens of batches (B, L, ...)."""
        flat = [batch.flatten(0, 1) for batch in batches]
        return (flat[0] if len(flat) == 1 else torch.cat(flat))[self.places_T][None]

    def unpack(self, packed_1TD: Tensor) -> list[Tensor]:
        """Return the batches (B, L, D) of a sequence; their padding is zero."""
        sizes = [shape.numel() for shape in self.shapes]
        flat = packed_1TD.new_zeros(sum(sizes), packed_1TD.shape[-1])
        flat = flat.index_copy(0, self.places_T, packed_1TD[0])
        parts = zip(flat.split(sizes), self.shapes, strict=True)
        return [part.view(*shape, -1) for part, shape in parts]

    def keywords(self, attention: str) -> dict[str, Any]:
        """Return the lengths of the texts as arguments of an attention.

        Args:
            attention: `blocks`, or the name of another attention of transformers, whose
                variable-length flash attention reads where each text begins, in int32.
        """
        if attention == blocks.NAME:
            return {"text_lengths": self.lengths}
        begins = [0, *accumulate(self.lengths)]
        begins_N = torch.tensor(begins, dtype=torch.int32, device=self.places_T.device)
        longest = max(self.lengths, default=0)
        return {
            "cu_seq_lens_q": begins_N,
            "cu_seq_lens_k": begins_N,
            "max_length_q": longest,
            "max_length_k": longest,
        }


def _with_a_token(mask_BL: Tensor) -> Tensor:
    """Return a copy of the mask in which texts without tokens have one."""
    mask_BL = mask_BL.clone()
    mask_BL[:, 0] |= ~mask_BL.any(1)
    return mask_BL


def position_ids(embeddings: nn.Module, tokens: Tokens) -> Tensor:
    """Return the position ids (B, L) that an encoder's embeddings give to a padded batch."""
    padding_id = getattr(embeddings, "padding_idx", None)
    if padding_id is not None:  # RoBERTa, MPNet and their kin count tokens, from the padding id on
        is_token_BL = (tokens.ids_BL != padding_id).long()
        return is_token_BL.cumsum(1) * is_token_BL + int(padding_id)
    length = tokens.ids_BL.shape[1]
    return torch.arange(length, device=tokens.ids_BL.device).expand_as(tokens.ids_BL)
