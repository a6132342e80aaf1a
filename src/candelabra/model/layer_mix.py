"""Learned weighted mean of all encoder layers (Peters et al. 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from candelabra.records import Encoded


class LayerMix(nn.Module):
    """Scalar mix `gamma * sum_l softmax(s)_l h_l` of the embeddings and all layers, as in ELMo.

    `s` is initialized to 0 and `gamma` to 1, so the initial mix is the mean of the layers.

    Args:
        num_layers: Number of mixed outputs: the encoder's layers plus its embeddings.
        lr: Learning rate of `s` and `gamma`. At the encoder's rate they would barely change.
    """

    def __init__(self, num_layers: int, *, lr: float = 1e-2) -> None:
        super().__init__()
        self.lr = lr
        self.s = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, encoded: Encoded) -> Encoded:
        """Replace the output of the last layer by the mix.

        Args:
            encoded: Encoded texts with the outputs of all layers.

        Returns:
            The texts with the mix as hidden_BLD, computed in float32 or wider and cast back.
        """
        layers = encoded.layers
        assert layers is not None, "a mix needs every layer of the encoder"
        dtype = layers[-1].dtype
        wide = torch.promote_types(dtype, torch.float32)
        mixed_BLD: Tensor = torch.zeros_like(layers[-1], dtype=wide)
        # Stacking the layers would need the memory of all of them at once.
        for weight, hidden_BLD in zip(self.s.softmax(0), layers, strict=True):
            mixed_BLD = mixed_BLD + weight * hidden_BLD.to(wide)
        return replace(encoded, hidden_BLD=(self.gamma * mixed_BLD).to(dtype), layers=None)
