"""Shared encoder from tokens to token embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from candelabra.model import attention as blocks
from candelabra.model.adapters import MARK, SHARED
from candelabra.model.dropout import use_bit_dropout
from candelabra.model.internals import attention_name, supports_sdpa
from candelabra.model.packing import Packing, position_ids
from candelabra.model.prefix import WHOLE, FrozenPrefix
from candelabra.records import Encoded, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYER_LISTS = ("encoder.layer", "transformer.layer", "layers", "encoder.layers")
"""Paths of the layer list in transformers: BERT and MPNet, DistilBERT, ModernBERT, others."""


class Encoder(nn.Module):
    """Wrapper of a transformers encoder without its pooler.

    Args:
        backbone: Any transformers encoder that returns `last_hidden_state`.
        attention: Name of an attention implementation in transformers, or `blocks`, or `auto`: the
            fastest by mode and device, see `attention_of`.
        bit_dropout: Whether dropout on a CPU is drawn by `BitDropout` in place of PyTorch's own.

    Attributes:
        pooler: State of the checkpoint's linear layer over [CLS], or `None` if it has none. Its
            tensors are not part of this module; they only initialize the pooling `cls_pooler`.
        sentence_folder: Folder saved by SentenceTransformer that the encoder comes from, or `None`.
            Only the pooling `modules` reads the weights of its layers.
        adapters: Names of the adapters. If there are any, the encoder's own weights are fixed.
        num_below_adapters: Number of the lowest layers, which have no adapters.
        prefix: Frozen part whose output is stored for the texts of the run, if there is any.

    Raises:
        ValueError: If `attention` is `blocks` and the backbone does not support it.
    """

    adapters: tuple[str, ...] = ()
    num_below_adapters: int = 0
    sentence_folder: Path | None = None
    prefix: FrozenPrefix | None = None

    def __init__(
        self, backbone: PreTrainedModel, *, attention: str = "auto", bit_dropout: bool = True
    ) -> None:
        super().__init__()
        if attention == blocks.NAME and not blocks.supports_blocks(backbone):
            raise ValueError(
                f"attention must not be {attention} for {type(backbone).__name__}, only for one of "
                f"{', '.join(blocks.MODEL_TYPES)}: take auto"
            )
        self.attention = attention
        pooler = getattr(backbone, "pooler", None)
        if pooler is not None:
            # DistributedDataParallel raises in the second step if a parameter is unused.
            backbone.pooler = None  # type: ignore[assignment]
        if bit_dropout:
            use_bit_dropout(backbone)
        if backbone.config.model_type == blocks.MPNET:
            from candelabra.model.mpnet import accept_packed_texts

            accept_packed_texts(backbone)
        self.backbone = backbone
        dense = getattr(pooler, "dense", None)
        self.pooler = dense.state_dict() if isinstance(dense, nn.Linear) else None

    def compute_by(self, backbone: nn.Module) -> None:
        """Replace the backbone by one that computes the same, and forget its modules.

        Args:
            backbone: Module that is called as the backbone is, with its `config`.
        """
        self.attention = attention_name(self.backbone)  # that of the other backbone is fixed
        self.backbone = backbone  # type: ignore[assignment]
        for cached in ("layers", "stem"):
            self.__dict__.pop(cached, None)

    @property
    def width(self) -> int:
        """Width of a token embedding."""
        return int(self.backbone.config.hidden_size)

    @cached_property
    def tells_texts_apart(self) -> bool:
        """True if token type embeddings distinguish the two texts of a pair."""
        return getattr(self.backbone.config, "type_vocab_size", 0) > 1

    @property
    def adapts_per_task(self) -> bool:
        """True if each task has its own adapter."""
        return self.adapters not in ((), (SHARED,))

    @property
    def fixed(self) -> list[nn.Parameter]:
        """Parameters that are never trained: all but the adapters, if there are adapters."""
        named = self.named_parameters() if self.adapters else ()
        return [parameter for name, parameter in named if MARK not in name]

    @property
    def below_adapters(self) -> list[nn.Module]:
        """Modules below the first adapted layer, which are never trained."""
        return [*self.stem, *self.layers[: self.num_below_adapters]] if self.adapters else []

    @property
    def embeddings(self) -> nn.Module:
        """Embedding module with token embeddings, position embeddings and norm."""
        return self.backbone.get_submodule("embeddings")

    @cached_property
    def stem(self) -> list[nn.Module]:
        """Modules below the layers: the embeddings and position modules shared by all layers."""
        shared = [
            module
            for name, module in self.backbone.named_modules()
            if name.endswith("encoder.relative_attention_bias") or name == "rotary_emb"
        ]
        return [self.embeddings, *shared]

    @cached_property
    def layers(self) -> Sequence[nn.Module]:
        """Transformer layers, lowest first.

        Raises:
            ValueError: If the backbone has its layers at none of the paths `LAYER_LISTS`.
        """
        modules = dict(self.backbone.named_modules())
        for path in LAYER_LISTS:
            if isinstance(found := modules.get(path), nn.ModuleList):
                return list(found)
        raise ValueError(
            f"{type(self.backbone).__name__} keeps its layers in none of {list(LAYER_LISTS)}"
        )

    def forward(self, tokens: Tokens, *, every_layer: bool = False) -> Encoded:
        """Encode tokens in one forward pass.

        Args:
            tokens: Token ids ids_BL, mask_BL and optional token types types_BL.
            every_layer: Whether to return the embeddings and the output of every layer as well.

        Returns:
            hidden_BLD with its mask_BL, and `layers` if requested. If the tokens come with pooled
            features, each text is one token, which poolings leave as it is.
        """
        if self.is_stored(tokens) and not every_layer:
            return _stored(tokens)
        if self._packs(tokens.ids_BL.device.type):
            return self._forward_packed([tokens], every_layer=every_layer)[0]
        return self.forward_padded(tokens, every_layer=every_layer)

    def forward_padded(self, tokens: Tokens, *, every_layer: bool = False) -> Encoded:
        """Encode tokens as `forward` does, by layers that read the padded batch."""
        self._choose_attention(tokens.ids_BL.device.type)
        features_BLD = None if every_layer else self._features_of(tokens)
        inputs = {"input_ids": tokens.ids_BL, "attention_mask": tokens.mask_BL}
        if tokens.types_BL is not None and self.tells_texts_apart:
            inputs["token_type_ids"] = tokens.types_BL
        layers = self._layers_of(inputs, features_BLD, every_layer=every_layer)
        return Encoded(layers[-1], tokens.mask_BL, layers if every_layer else None)

    def encode(self, batches: Sequence[Tokens], *, every_layer: bool = False) -> list[Encoded]:
        """Encode several batches: in one pass without padding, if the attention can do that.

        Args:
            batches: The tokens of any tasks and text columns.
            every_layer: Whether to return the output of every layer as well.

        Returns:
            For each batch what `forward` returns for it.
        """
        if self._packs(batches[0].ids_BL.device.type) and not any(map(self.is_stored, batches)):
            return self._forward_packed(batches, every_layer=every_layer)
        return [self(tokens, every_layer=every_layer) for tokens in batches]

    def _forward_packed(self, batches: Sequence[Tokens], *, every_layer: bool) -> list[Encoded]:
        """Encode batches as one sequence of their tokens; features are used if all have them."""
        packing = Packing.of([tokens.mask_BL for tokens in batches])
        inputs = {
            "input_ids": packing.pack([tokens.ids_BL for tokens in batches]),
            "position_ids": packing.pack([position_ids(self.embeddings, t) for t in batches]),
        }
        if self.tells_texts_apart:
            types = [
                torch.zeros_like(t.ids_BL) if t.types_BL is None else t.types_BL for t in batches
            ]
            inputs["token_type_ids"] = packing.pack(types)
        stored = [f for t in batches if (f := self._features_of(t)) is not None]
        is_stored = len(stored) == len(batches) and not every_layer
        features_1TD = packing.pack(stored) if is_stored else None
        inputs |= packing.keywords(self._choose_attention(packing.places_T.device.type))
        layers = self._layers_of(inputs, features_1TD, every_layer=every_layer)
        unpacked = zip(*(packing.unpack(layer_1TD) for layer_1TD in layers), strict=True)
        return [
            Encoded(of_batch[-1], tokens.mask_BL, of_batch if every_layer else None)
            for tokens, of_batch in zip(batches, unpacked, strict=True)
        ]

    def _layers_of(
        self, inputs: Mapping[str, Any], features: Tensor | None, *, every_layer: bool
    ) -> tuple[Tensor, ...]:
        """Run the backbone and return the output of its last layer, or of all layers.

        Args:
            inputs: Arguments of the backbone.
            features: Output of its frozen prefix for the same tokens, if it is stored.
            every_layer: Whether to return the embeddings and the output of every layer as well.
        """
        replaced: AbstractContextManager[None] = nullcontext()
        if features is not None:
            assert self.prefix is not None
            replaced = self.prefix.replaced(self, features)
        options = {"output_hidden_states": True} if every_layer else {}
        with replaced:
            output = self.backbone(**inputs, **options)
        # Some backbones omit the final norm in `hidden_states[-1]`.
        lower = output.hidden_states[:-1] if every_layer else ()
        return (*lower, output.last_hidden_state)

    def is_stored(self, tokens: Tokens) -> bool:
        """Return whether the last layer's output for these texts is stored and up to date."""
        features_BLD = self._features_of(tokens)
        return features_BLD is not None and self.prefix is not None and self.prefix.depth == WHOLE

    def _features_of(self, tokens: Tokens) -> Tensor | None:
        """Return the stored features of texts, or `None` if there are none or they are outdated."""
        return tokens.features_BLD if self.prefix is not None and self.prefix.live else None

    def attention_of(self, device: str, *, training: bool) -> str:
        """Return the name of the attention that is used.

        With `auto` and `blocks` that is `blocks` for training on a CPU (`eager` for architectures
        that do not support it), and otherwise `sdpa`. Without `sdpa` an architecture keeps what it
        was loaded with, but for MPNet, which takes `blocks` on a CPU in any mode.

        Args:
            device: Device type, such as `cpu`.
            training: Whether the encoder is in training mode.
        """
        as_loaded = attention_name(self.backbone)
        if self.attention not in ("auto", blocks.NAME):
            return as_loaded
        has_sdpa, on_cpu = supports_sdpa(self.backbone), device == "cpu"
        if on_cpu and (training or not has_sdpa) and blocks.supports_blocks(self.backbone):
            return blocks.NAME
        if not has_sdpa:
            return as_loaded
        return "eager" if on_cpu and training else "sdpa"

    def _packs(self, device: str) -> bool:
        """Return whether the attention in use reads texts of any length from one sequence."""
        if torch.compiler.is_exporting():  # the lengths would be constants of the graph
            return False
        name = self.attention_of(device, training=self.training)
        is_flash = name == "flash_attention_2" and blocks.supports_blocks(self.backbone)
        return name == blocks.NAME or (is_flash and self.training)

    def _choose_attention(self, device: str) -> str:
        """Set the attention of the backbone, where it can be set, and return its name."""
        wanted = self.attention_of(device, training=self.training)
        if attention_name(self.backbone) != wanted and supports_sdpa(self.backbone):
            blocks.register()
            self.backbone.set_attn_implementation(wanted)
        return wanted


def _stored(tokens: Tokens) -> Encoded:
    """Return the stored features of texts as the output of the encoder."""
    features_BLD, mask_BL = tokens.features_BLD, tokens.mask_BL
    assert features_BLD is not None
    is_pooled = features_BLD.shape[1] != mask_BL.shape[1]
    return Encoded(features_BLD, torch.ones_like(mask_BL[:, :1]) if is_pooled else mask_BL)


def first_pieces(encoded: Encoded, first_BW: Tensor) -> Tensor:
    """Return the embedding of the first piece of each word.

    Args:
        encoded: Encoded texts.
        first_BW: Position of the first piece of each word; -1 for removed words and padding.

    Returns:
        Embeddings (B, W, D). Where the position is -1 they are those of position 0.
    """
    index = first_BW.clamp(min=0)[..., None].expand(-1, -1, encoded.hidden_BLD.shape[-1])
    return encoded.hidden_BLD.gather(1, index)
