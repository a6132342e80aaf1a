"""Head that predicts masked words, by the head that transformers has for an encoder.

Shapes: B examples, W masked words, D encoder width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from candelabra.model.encoder import Encoder, first_pieces
from candelabra.model.heads.base import Head, Pooling
from candelabra.records import Encoded, Examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Given(nn.Module):
    """Stand-in for an encoder inside a model of transformers, which returns given embeddings."""

    embeddings: Tensor

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Return the embeddings as the output of an encoder."""
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.embeddings)


class MaskedWordsHead(Head):
    """Head that predicts the original token at each masked position.

    Only these positions pass through the layers over the vocabulary, which are most of the work.

    Args:
        width: Width of a token embedding.
        language_model: Model of transformers for masked words, as `AutoModelForMaskedLM` has it.
            Its own encoder is taken out of it; `whole` puts one back.
    """

    pools = False
    kind = "masked words"

    def __init__(self, width: int, language_model: PreTrainedModel) -> None:
        super().__init__(width, ())
        self._place = language_model.base_model_prefix
        self._given = _Given()
        setattr(language_model, self._place, self._given)
        self.language_model = language_model

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """Compute logits_BWV at the positions `first_BW`; those of padding are meaningless."""
        (text,) = encoded
        assert first_BW is not None
        self._given.embeddings = first_pieces(text, first_BW)
        logits_BWV: Tensor = self.language_model(input_ids=first_BW).logits
        return logits_BWV

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the logarithms of the probabilities, (B, W, V)."""
        return logits.float().log_softmax(dim=-1)

    def describe(self, logits: Tensor, first_BW: Tensor | None, examples: Examples) -> list[Any]:
        """Return the most probable token ids of each example."""
        ids: list[Any] = logits.argmax(dim=-1).tolist()
        return ids

    def describe_labels(self, examples: Examples) -> list[Any]:
        """Return `None` for each example, because its labels are drawn with its masks."""
        return [None] * len(examples)

    def whole(self, encoder: Encoder) -> PreTrainedModel:
        """Return the model of transformers with an encoder in it; the head is of no use then."""
        setattr(self.language_model, self._place, encoder.backbone)
        return self.language_model
