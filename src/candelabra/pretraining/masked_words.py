"""Pre-training by masked words, as transformers' collator masks and its models predict them.

Shapes: B examples, L token positions, W masked tokens of a text, D encoder width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from candelabra.data.collate import TokenizedSplit, pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder, first_pieces
from candelabra.model.heads.base import Pooling
from candelabra.pretraining.base import ChangingSplit, PretrainingHead, padded
from candelabra.records import IGNORED, Batch, Encoded

if TYPE_CHECKING:
    from transformers import DataCollatorForLanguageModeling, PreTrainedModel


@dataclass(frozen=True)
class MaskedWords:
    """Method that masks some tokens of a text and predicts them (Devlin et al. 2019).

    Of the chosen tokens 80% become the mask token, 10% a random token, and 10% stay.

    Attributes:
        mask_probability: Probability that a token is chosen.

    Raises:
        ValueError: The probability is not between 0 and 1.
    """

    mask_probability: float

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability < 1:
            raise ValueError(
                f"mask_probability must be above 0 and below 1, got {self.mask_probability}"
            )

    def load(self, backbone: Backbone, tokenizer: TextTokenizer) -> tuple[Encoder, MaskedWordsHead]:
        """Return the encoder of a backbone, and its layers over the vocabulary as a head.

        Raises:
            ConfigError: The tokenizer has no token for masked words.
        """
        if tokenizer.tokenizer.mask_token is None:
            raise ConfigError("encoder: its tokenizer has no mask token, which masked words need")
        encoder, language_model = backbone.load_with_words()
        return encoder, MaskedWordsHead(encoder.width, language_model)

    def split(self, plain: TokenizedSplit, tokenizer: TextTokenizer, *, seed: int) -> MaskedSplit:
        """Return the split whose texts are masked when they are collated."""
        from transformers import DataCollatorForLanguageModeling

        return MaskedSplit(
            examples=plain.examples,
            texts=plain.texts,
            pad_id=plain.pad_id,
            collator=DataCollatorForLanguageModeling(
                tokenizer=tokenizer.tokenizer, mlm_probability=self.mask_probability
            ),
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class MaskedSplit(ChangingSplit):
    """Split of texts whose words are its labels: a model has to predict those that are masked.

    Attributes:
        collator: Collator of transformers that masks tokens.
    """

    collator: DataCollatorForLanguageModeling = field(repr=False)

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        of: np.ndarray | None = None,
        counted: bool = True,
        step: int | None = None,
    ) -> Batch:
        """Mask and collate some texts; the words of the batch are its masked tokens.

        Args:
            indices: Indices of the B texts.
            of: Indices of all texts of the optimizer step, whose masked tokens the loss is averaged
                over; `None` if these are the `indices`.
            counted: `False` ignores all labels.
            step: Number of the optimizer step; `None` gives the masks of an evaluation.

        Returns:
            The batch, whose `first_BW` has the positions of the masked tokens and whose `labels`
            have the ids of the original tokens there.
        """
        rows = [int(row) for row in (indices if of is None else of)]
        masked = {row: self._masked(row, step) for row in rows}
        places = [(masked[int(row)][1] != IGNORED).nonzero()[:, 0] for row in indices]
        labels = [masked[int(row)][1][place] for row, place in zip(indices, places, strict=True)]
        labels_BW = padded(labels, IGNORED)
        return Batch(
            texts=(pad_tokens([masked[int(row)][0].numpy() for row in indices], self.pad_id),),
            labels=labels_BW if counted else torch.full_like(labels_BW, IGNORED),
            rows_B=torch.as_tensor(np.asarray(indices, dtype=np.int64)),
            # At least 1: short texts may have no masked token.
            num_units=max(1, sum(int((labels != IGNORED).sum()) for _, labels in masked.values())),
            num_examples=len(rows),
            num_tokens=int(self.lengths[rows].sum()),
            first_BW=padded(places, -1),
            counted=counted,
        )

    def _masked(self, row: int, step: int | None) -> tuple[Tensor, Tensor]:
        """Return the ids of a text with masked tokens, and the original ids of these tokens."""
        ids_1L = torch.from_numpy(self.texts[0].text(row).astype(np.int64))[None]
        special = np.isin(ids_1L.numpy(), self.collator.tokenizer.all_special_ids)
        self.collator.generator = self.generator(row, step)
        ids_1L, labels_1L = self.collator.torch_mask_tokens(
            ids_1L, special_tokens_mask=torch.from_numpy(special)
        )
        return ids_1L[0], labels_1L[0]


class _Given(nn.Module):
    """Stand-in for an encoder inside a model of transformers, which returns given embeddings."""

    embeddings: Tensor

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Return the embeddings as the output of an encoder."""
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.embeddings)


class MaskedWordsHead(PretrainingHead):
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

    def whole(self, encoder: Encoder) -> PreTrainedModel:
        """Return the model of transformers with an encoder in it; the head is of no use then."""
        setattr(self.language_model, self._place, encoder.backbone)
        return self.language_model

    def save(self, encoder: Encoder, folder: Path) -> None:
        """Write the encoder with the layers over the vocabulary; the head is of no use then."""
        self.whole(encoder).save_pretrained(folder)
