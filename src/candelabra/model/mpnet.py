"""MPNet over packed texts.

MPNet adds a learnt bias to each score, by the distance of the two tokens, in an attention of its
own that transformers' attention interface does not reach. So its modules get subclasses, which do
the same for one sequence of texts without padding, and nothing new otherwise.

Shapes: T tokens of all texts, L positions of the longest, H heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetSelfAttention

from candelabra.model.attention import blocks_attention


class TextPositions(NamedTuple):
    """What the layers get in place of the bias of all pairs of positions.

    Attributes:
        bias_HLL: Bias of the scores between two positions of a text.
        text_lengths: Number of tokens of each text of the sequence.
    """

    bias_HLL: Tensor
    text_lengths: Sequence[int]


class PackedMPNetEncoder(MPNetEncoder):
    """Layers of MPNet, with the lengths of the texts of this pass, if they are packed."""

    text_lengths: Sequence[int] | None = None

    def compute_position_bias(self, x: Tensor, *args: Any, **options: Any) -> Any:
        """Return the bias (B, H, L, L) of padded texts, or the `TextPositions` of packed ones."""
        if self.text_lengths is None:
            return super().compute_position_bias(x, *args, **options)
        bias_1HLL = super().compute_position_bias(x[:, : max(self.text_lengths)])
        return TextPositions(bias_1HLL[0], self.text_lengths)


class PackedMPNetSelfAttention(MPNetSelfAttention):
    """Self-attention of MPNet, by blocks where the texts are packed."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | TextPositions | None = None,
        output_attentions: bool = False,
        **options: Any,
    ) -> tuple[Tensor, ...]:
        """Return the output of the same shape as `hidden_states`, in a tuple."""
        if not isinstance(position_bias, TextPositions):
            output: tuple[Tensor, ...] = super().forward(
                hidden_states, attention_mask, position_bias, output_attentions, **options
            )
            return output
        query, key, value = (
            linear(hidden_states).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
            for linear in (self.q, self.k, self.v)
        )
        attended_1THD, _ = blocks_attention(
            self,
            query,
            key,
            value,
            None,
            text_lengths=position_bias.text_lengths,
            bias_HLL=position_bias.bias_HLL,
            dropout=self.dropout.p if self.training else 0.0,
        )
        return (self.o(attended_1THD.flatten(2)),)


def accept_packed_texts(backbone: PreTrainedModel) -> None:
    """Let an MPNet take `text_lengths` for packed texts, as transformers' own attentions do."""
    for module in backbone.modules():
        if isinstance(module, MPNetEncoder):
            module.__class__ = PackedMPNetEncoder
        elif isinstance(module, MPNetSelfAttention):
            module.__class__ = PackedMPNetSelfAttention
    backbone.register_forward_pre_hook(_pass_on_lengths, with_kwargs=True)


def _pass_on_lengths(backbone: nn.Module, args: Any, keywords: Mapping[str, Any]) -> None:
    """Give the lengths to the layers: the model's own `forward` drops what it does not know."""
    encoder = backbone.get_submodule("encoder")
    assert isinstance(encoder, PackedMPNetEncoder)
    encoder.text_lengths = keywords.get("text_lengths")
