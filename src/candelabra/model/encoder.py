"""The shared encoder: Tokens -> token embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from candelabra.model.adapters import MARK, SHARED
from candelabra.records import Encoded, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYER_LISTS = ("encoder.layer", "transformer.layer", "layers", "encoder.layers")
"""Where transformers keeps layers: BERT and MPNet, DistilBERT, ModernBERT, others."""


class Encoder(nn.Module):
    """A transformers model without its pooler.

    Args:
        backbone: Any transformers encoder that returns `last_hidden_state`.
        attention: transformers' name of an attention, or `auto`: `sdpa`, but `eager` where it
            trains on a CPU (benchmarks/attention.py measures it).

    Attributes:
        pooler: State of the checkpoint's own linear layer over [CLS], where it has one. It is no
            part of this module: only the `cls_pooler` pooling takes it over.
        adapters: The names of its adapters; where it has some, its own weights are fixed.
    """

    adapters: tuple[str, ...] = ()

    def __init__(self, backbone: PreTrainedModel, *, attention: str = "auto") -> None:
        super().__init__()
        self.attention = attention
        pooler = getattr(backbone, "pooler", None)
        if pooler is not None:
            # An unused parameter makes DistributedDataParallel raise at its second step.
            backbone.pooler = None  # type: ignore[assignment]
        self.backbone = backbone
        dense = getattr(pooler, "dense", None)
        self.pooler = dense.state_dict() if isinstance(dense, nn.Linear) else None

    @property
    def width(self) -> int:
        """Width of a token embedding."""
        return int(self.backbone.config.hidden_size)

    @cached_property
    def tells_texts_apart(self) -> bool:
        """Whether it has an embedding for the second text of a pair."""
        return getattr(self.backbone.config, "type_vocab_size", 0) > 1

    @property
    def adapts_per_task(self) -> bool:
        """Whether each task has an adapter of its own."""
        return self.adapters not in ((), (SHARED,))

    @property
    def fixed(self) -> list[nn.Parameter]:
        """What never learns: under adapters, everything but them."""
        named = self.named_parameters() if self.adapters else ()
        return [parameter for name, parameter in named if MARK not in name]

    @property
    def embeddings(self) -> nn.Module:
        """The token embeddings, with their positions and norm."""
        return self.backbone.get_submodule("embeddings")

    @cached_property
    def stem(self) -> list[nn.Module]:
        """What lies below the layers: the embeddings, and positions that the layers share."""
        shared = [
            module
            for name, module in self.backbone.named_modules()
            if name.endswith("encoder.relative_attention_bias") or name == "rotary_emb"
        ]
        return [self.embeddings, *shared]

    @cached_property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, lowest first."""
        for path in LAYER_LISTS:
            try:
                found = self.backbone.get_submodule(path)
            except AttributeError:
                continue
            if isinstance(found, nn.ModuleList):
                return list(found)
        raise ValueError(
            f"{type(self.backbone).__name__} keeps its layers in none of {list(LAYER_LISTS)}"
        )

    def forward(self, tokens: Tokens, *, every_layer: bool = False) -> Encoded:
        """One pass: ids_BL, mask_BL -> hidden_BLD and, on demand, every layer's."""
        self._choose_attention(tokens.ids_BL.device.type)
        asked: dict[str, Any] = {"output_hidden_states": True} if every_layer else {}
        if tokens.types_BL is not None and self.tells_texts_apart:
            asked["token_type_ids"] = tokens.types_BL
        output = self.backbone(input_ids=tokens.ids_BL, attention_mask=tokens.mask_BL, **asked)
        last_BLD = output.last_hidden_state
        # The last one again: some backbones give it without its final norm.
        layers = (*output.hidden_states[:-1], last_BLD) if every_layer else None
        return Encoded(hidden_BLD=last_BLD, mask_BL=tokens.mask_BL, layers=layers)

    def _choose_attention(self, device: str) -> None:
        if self.attention != "auto" or not self.backbone._supports_sdpa:
            return
        wanted = "eager" if self.training and device == "cpu" else "sdpa"
        if self.backbone.config._attn_implementation != wanted:
            self.backbone.set_attn_implementation(wanted)


def first_pieces(encoded: Encoded, first_BW: Tensor) -> Tensor:
    """Embeddings of each word's first piece, (B, W, D); cut words and padding get position 0."""
    index = first_BW.clamp(min=0)[..., None].expand(-1, -1, encoded.hidden_BLD.shape[-1])
    return encoded.hidden_BLD.gather(1, index)
