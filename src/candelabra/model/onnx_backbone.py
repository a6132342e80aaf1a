"""Encoders computed by onnxruntime, in float32 or with int8 weights.

Shapes: B texts, L token positions, D encoder width.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from candelabra.config.keys import GRAPHS
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.files import checksum, clear_folder_drafts, drafted, read_json, write_json
from candelabra.model.onnx_graph import (
    TOLERANCE,
    largest_difference,
    quantize,
    save_graph,
    session,
)
from candelabra.model.prefix import WHOLE, digest
from candelabra.records import Tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from candelabra.model.encoder import Encoder
    from candelabra.model.multitask import MultiTaskModel

log = logging.getLogger(__name__)

GRAPH, SUM = "encoder.onnx", "checksum.json"


class OnnxBackbone(nn.Module):
    """Graph of an encoder, called like the transformers model that it was made from.

    Args:
        file: The graph.
        config: Configuration of the transformers model.

    Attributes:
        sha256: Checksum of the graph. As a parameter it tells graphs apart wherever weights are
            compared, and gives the model a device.
    """

    def __init__(self, file: Path, config: PretrainedConfig) -> None:
        super().__init__()
        self.file, self.config = file, config
        digits = torch.tensor(list(bytes.fromhex(checksum(file))), dtype=torch.float32)
        self.sha256 = nn.Parameter(digits, requires_grad=False)
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session out: it cannot be copied, and another process opens its own."""
        return {**self.__dict__, "_session": None}

    def forward(
        self, *, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool = False
    ) -> Any:
        """Compute the hidden states (B, L, D) of the last layer, or of every layer."""
        from transformers.modeling_outputs import BaseModelOutput

        if self._session is None:
            self._session = session(self.file, num_threads=torch.get_num_threads())
        feeds = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        layers = tuple(map(torch.from_numpy, self._session.run(None, feeds)))
        return BaseModelOutput(
            last_hidden_state=layers[-1], hidden_states=layers if output_hidden_states else None
        )


class _EncoderGraph(nn.Module):
    """Encoder as a module from token ids and mask to hidden states, the last layer's at the end."""

    def __init__(self, encoder: Encoder, *, every_layer: bool) -> None:
        super().__init__()
        self.encoder, self.every_layer = encoder, every_layer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return hidden states (B, L, D)."""
        encoded = self.encoder(Tokens(input_ids, attention_mask), every_layer=self.every_layer)
        return (encoded.hidden_BLD,) if encoded.layers is None else encoded.layers


def compute_with_onnx(
    model: MultiTaskModel, tokenizer: TextTokenizer, cache_dir: Path, *, int8: bool
) -> None:
    """Let onnxruntime compute the encoder of a model for inference; the heads stay in torch.

    The graph is kept in a folder named by the weights, so that it is made once.

    Args:
        model: Model on the CPU in eval mode; its encoder is replaced.
        tokenizer: Tokenizer of the encoder.
        cache_dir: Folder of the caches.
        int8: Whether the weights are quantized to int8.

    Raises:
        ConfigError: Each task has its own adapter, the encoder cannot be exported, or onnxruntime
            computes something else than torch.
        OSError: The graph cannot be written.
    """
    encoder = model.encoder
    if encoder.adapts_per_task:
        raise ConfigError(
            "backend must be torch for a model with an adapter for each task: a graph has the "
            "weights of one"
        )
    graph = _EncoderGraph(encoder, every_layer=len(model.mixes) > 0)
    folder = cache_dir / GRAPHS / _key(graph, int8=int8)
    if not _is_whole(folder):
        print(f"making the ONNX graph of the encoder, once: {folder}", file=sys.stderr)
        clear_folder_drafts(folder.parent, ["*"])
        with drafted(folder) as draft:
            draft.mkdir()
            _write(graph, draft / GRAPH, tokenizer, int8=int8)
            write_json(draft / SUM, {"sha256": checksum(draft / GRAPH)})
    encoder.compute_by(OnnxBackbone(folder / GRAPH, encoder.backbone.config))


def _key(graph: _EncoderGraph, *, int8: bool) -> str:
    """Return a name for a graph, from the weights and the versions that make it."""
    import onnxruntime

    parts = (
        digest(graph.encoder, WHOLE),
        graph.every_layer,
        int8,
        torch.__version__,
        onnxruntime.__version__,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    """Return whether a graph is there and unchanged."""
    file = folder / GRAPH
    if not file.is_file():
        return False
    if checksum(file) == read_json(folder / SUM).get("sha256"):
        return True
    log.warning("%s is damaged: its checksum differs; it is made again", file)
    return False


def _write(graph: _EncoderGraph, file: Path, tokenizer: TextTokenizer, *, int8: bool) -> None:
    """Write a graph, compare it with torch, and quantize it if asked for."""
    last = len(graph.encoder.layers)
    outputs = [f"layer_{number}" for number in range(0 if graph.every_layer else last, last + 1)]
    kind = type(graph.encoder.backbone).__name__
    try:
        save_graph(graph, file, outputs)
    except torch.onnx.OnnxExporterError as error:
        raise ConfigError(f"backend must be torch for {kind}: it cannot be exported") from error
    apart = largest_difference(graph, file, tokenizer)
    if apart > TOLERANCE:
        raise ConfigError(
            f"backend must be torch for {kind}: onnxruntime differs from torch by {apart:.1g}"
        )
    if int8:
        plain = file.rename(file.with_name("plain.onnx"))
        quantize(plain, file)
        plain.unlink()
