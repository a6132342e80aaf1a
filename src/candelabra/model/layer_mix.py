"""What a head reads where one layer is not enough: a learnt mix of all (Peters et al. 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from candelabra.records import Encoded


class LayerMix(nn.Module):
    """`gamma * sum_l softmax(s)_l h_l` over the embeddings and all layers, as in ELMo.

    `s` starts at 0 and gamma at 1, where the mix is the mean of the layers.

    Args:
        num_layers: How many are mixed: the encoder's layers and its embeddings.
        lr: Learning rate of `s` and gamma. At an encoder's rate they would hardly move.
    """

    def __init__(self, num_layers: int, *, lr: float = 1e-2) -> None:
        super().__init__()
        self.lr = lr
        self.s = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, encoded: Encoded) -> Encoded:
        """The same texts with the mix, (B, L, D), in place of the last layer; mixed in float32."""
        layers = encoded.layers
        assert layers is not None, "a mix needs every layer of the encoder"
        dtype = layers[-1].dtype
        wide = torch.promote_types(dtype, torch.float32)
        mixed_BLD: Tensor = torch.zeros_like(layers[-1], dtype=wide)
        # One after the other: stacked they would take the memory of all at once.
        for weight, hidden_BLD in zip(self.s.softmax(0), layers, strict=True):
            mixed_BLD = mixed_BLD + weight * hidden_BLD.to(wide)
        return replace(encoded, hidden_BLD=(self.gamma * mixed_BLD).to(dtype), layers=None)
