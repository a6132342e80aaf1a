"""Poolings and layers of a folder saved by SentenceTransformer, as one pooling.

Shapes: B examples, L token positions, D encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.errors import ConfigError
from candelabra.model.pooling import FIXED, out_width
from candelabra.model.sentence_folder import OPTIONS, sentence_pooling

ACTIVATIONS = (
    "CELU",
    "ELU",
    "GELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
)
"""Classes of `torch.nn` without weights that a `Dense` may apply."""


class Dense(nn.Module):
    """Linear layer with an activation and, if chosen, a residual connection.

    Args:
        width: Width of the input.
        out_features: Width of the output.
        bias: Whether the linear layer has a bias.
        activation: Name of a class of `torch.nn`, one of `ACTIVATIONS`.
        residual: Whether the input is added, through a linear layer if the widths differ.

    Raises:
        ValueError: If the activation is unknown.

    Example:
        >>> Dense(4, out_features=2)(torch.ones(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        width: int,
        *,
        out_features: int,
        bias: bool = True,
        activation: str = "Tanh",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation of a Dense must be one of {known}, got {activation!r}")
        self.out_width = out_features
        self.linear = nn.Linear(width, out_features, bias=bias)
        self.activation = getattr(nn, activation)()
        self.adds_input = residual
        if residual and width != out_features:
            self.residual = nn.Linear(width, out_features, bias=False)

    def forward(self, sentence_BD: Tensor) -> Tensor:
        """Return the transformed embeddings."""
        output = self.activation(self.linear(sentence_BD))
        if not self.adds_input:
            return output
        return output + (self.residual(sentence_BD) if hasattr(self, "residual") else sentence_BD)


class LayerNorm(nn.Module):
    """Layer normalization of sentence embeddings.

    Args:
        width: Width of the input.

    Example:
        >>> LayerNorm(2)(torch.tensor([[1.0, 3.0]])).detach().round()
        tensor([[-1.,  1.]])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, sentence_BD: Tensor) -> Tensor:
        """Return the normalized embeddings."""
        return self.norm(sentence_BD)


class Normalize(nn.Module):
    """Scaling of sentence embeddings to unit length.

    Args:
        width: Width of the input, which does not matter.

    Example:
        >>> Normalize(2)(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, sentence_BD: Tensor) -> Tensor:
        """Return the embeddings in unit length."""
        return F.normalize(sentence_BD)


class Dropout(nn.Module):
    """Dropout of sentence embeddings.

    Args:
        width: Width of the input, which does not matter.
        rate: Dropout probability.

    Example:
        >>> Dropout(2, rate=0.5).eval()(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 4.]])
    """

    def __init__(self, width: int, *, rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(rate)

    def forward(self, sentence_BD: Tensor) -> Tensor:
        """Return the embeddings, in training with dropout."""
        return self.dropout(sentence_BD)


KINDS: dict[str, Callable[..., nn.Module]] = {
    "dense": Dense,
    "dropout": Dropout,
    "layer_norm": LayerNorm,
    "normalize": Normalize,
}


class SentenceModules(nn.Module):
    """Concatenated poolings, followed by layers: what SentenceTransformer puts behind an encoder.

    Args:
        width: Encoder width D.
        modes: Poolings by their names in sentence-transformers, such as `cls`.
        layers: Settings of each layer: its `kind` and the arguments of its class.

    Attributes:
        width: Encoder width D.
        modes: The names of the poolings.
        settings: The settings of the layers.
        layers: The layers.
        out_width: Width of a sentence embedding.

    Raises:
        ValueError: If a pooling, a kind or a setting is unknown.

    Example:
        >>> pooling = SentenceModules(width=4, modes=["cls", "mean"])
        >>> pooling(torch.ones(2, 3, 4), torch.ones(2, 3)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        width: int,
        *,
        modes: Sequence[str] = ("mean",),
        layers: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        for mode in modes:
            if mode not in OPTIONS:
                raise ValueError(f"modes must be of {', '.join(OPTIONS)}, got {mode!r}")
        self.width = width
        self.modes = tuple(modes)
        self.settings = tuple(dict(settings) for settings in layers)
        self.layers = nn.Sequential()
        self.out_width = width * len(modes)
        for settings in layers:
            rest = {str(key): value for key, value in settings.items() if key != "kind"}
            if settings.get("kind") not in KINDS:
                raise ValueError(f"kind must be of {', '.join(KINDS)}, got {settings.get('kind')}")
            layer = KINDS[settings["kind"]](self.out_width, **rest)
            self.layers.append(layer)
            self.out_width = out_width(layer, self.out_width)

    def forward(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the sentence embeddings, (B, out_width)."""
        poolings = [FIXED[OPTIONS[mode]] for mode in self.modes]
        pooled = torch.cat([pool(hidden_BLD, mask_BL) for pool in poolings], dim=-1)
        return self.layers(pooled).to(hidden_BLD.dtype)

    def load_folder(self, folder: Path) -> None:
        """Load the weights of the layers from a folder that SentenceTransformer saved.

        Raises:
            ConfigError: If a file of weights is missing, damaged or does not fit.
        """
        found = sentence_pooling(folder)
        if len(found.folders) != len(self.layers):
            raise ConfigError(
                f"layers must be as many as in {folder}, got {len(self.layers)} instead of "
                f"{len(found.folders)}"
            )
        for layer, place in zip(self.layers, found.folders, strict=True):
            if layer.state_dict():
                _load(layer, place / "model.safetensors")


def _load(layer: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise ConfigError(f"{file}: missing; weights are read from safetensors alone, no .bin file")
    try:
        layer.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{file}: does not fit its config.json, or is damaged: {reason}"
        ) from error
