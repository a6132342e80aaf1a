"""The pooling `modules` as modules of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from candelabra.exporting.formats import ONNX, SENTENCE_TRANSFORMERS, refusal
from candelabra.files import write_json
from candelabra.model.sentence_folder import MODES
from candelabra.model.sentence_modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    SentenceModules,
)


@dataclass(frozen=True)
class SentenceLayers:
    """Counterpart of a `SentenceModules` in sentence-transformers.

    Attributes:
        modes: Flags of the poolings.
        parts: Class, settings and layer of each module behind them.
    """

    modes: tuple[str, ...]
    parts: tuple[tuple[str, Mapping[str, Any], nn.Module], ...]

    def save(self, folder: Path) -> None:
        """Write the settings and weights of the layers into their folders."""
        for place, (name, settings, layer) in enumerate(self.parts, start=2):
            own = folder / f"{place}_{name}"
            write_json(own / "config.json", settings)
            tensors = {key: each.contiguous() for key, each in layer.state_dict().items()}
            if tensors:
                save_file(tensors, own / "model.safetensors")


def layers_of(pooling: nn.Module) -> SentenceLayers | None:
    """Return the modules of a pooling, or `None` for a pooling of another kind.

    Raises:
        ConfigError: If the poolings are concatenated in another order than flags have.
    """
    if not isinstance(pooling, SentenceModules):
        return None
    modes = pooling.modes
    flags = [flag for flag, mode in MODES.items() if mode in modes]
    if tuple(MODES[flag] for flag in flags) != modes:
        what = f"the poolings {', '.join(modes)} in this order"
        raise refusal(SENTENCE_TRANSFORMERS, what, (ONNX,))
    parts, width = [], pooling.width * len(modes)
    for layer in pooling.layers:
        name, settings = _part(layer, width)
        parts.append((name, settings, layer))
        width = int(getattr(layer, "out_width", width))
    return SentenceLayers(tuple(flags), tuple(parts))


def _part(layer: nn.Module, width: int) -> tuple[str, dict[str, Any]]:
    """Return the class and the settings of a layer."""
    if isinstance(layer, Dense):
        activation = type(layer.activation)
        settings: dict[str, Any] = {
            "in_features": width,
            "out_features": layer.out_width,
            "bias": layer.linear.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__name__}",
        }
        return "Dense", {**settings, **({"use_residual": True} if layer.adds_input else {})}
    if isinstance(layer, Dropout):
        return "Dropout", {"dropout": layer.dropout.p}
    if isinstance(layer, LayerNorm):
        return "LayerNorm", {"dimension": width}
    assert isinstance(layer, Normalize)
    return "Normalize", {}
