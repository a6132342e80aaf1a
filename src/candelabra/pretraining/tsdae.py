"""Pre-training by TSDAE: restore a text from the sentence embedding of what is left of it.

Source: Wang, Reimers & Gurevych 2021, "TSDAE: Using Transformer-based Sequential Denoising
Auto-Encoder for Unsupervised Sentence Embedding Learning".

Shapes: B examples, L token positions, W tokens of a text after its first, D encoder width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn

from candelabra.data.collate import TokenizedSplit, pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.heads.base import Loss, Pooling
from candelabra.pretraining.base import ChangingSplit, PretrainingHead, padded
from candelabra.records import IGNORED, Batch, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Tsdae:
    """Method that deletes tokens of a text, and restores the text from its sentence embedding.

    Attributes:
        deletion_probability: Probability that a token is deleted; 0.6 in the paper.

    Raises:
        ValueError: The probability is not between 0 and 1.
    """

    deletion_probability: float

    def __post_init__(self) -> None:
        if not 0 < self.deletion_probability < 1:
            raise ValueError(
                f"deletion_probability must be above 0 and below 1, got {self.deletion_probability}"
            )

    def load(self, backbone: Backbone, tokenizer: TextTokenizer) -> tuple[Encoder, TsdaeHead]:
        """Return the encoder of a backbone, and a decoder that shares its weights as a head."""
        encoder = backbone.load()
        return encoder, TsdaeHead(encoder, tokenizer)

    def split(self, plain: TokenizedSplit, tokenizer: TextTokenizer, *, seed: int) -> DeletedSplit:
        """Return the split whose texts lose tokens when they are collated."""
        return DeletedSplit(
            examples=plain.examples,
            texts=plain.texts,
            pad_id=plain.pad_id,
            probability=self.deletion_probability,
            special_ids=tuple(tokenizer.tokenizer.all_special_ids),
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class DeletedSplit(ChangingSplit):
    """Split of texts without some of their tokens, whose labels are all tokens but the first.

    Attributes:
        probability: Probability that a token is deleted. One token at least is left.
        special_ids: Ids of tokens that are never deleted.
    """

    probability: float
    special_ids: tuple[int, ...]

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        of: np.ndarray | None = None,
        counted: bool = True,
        step: int | None = None,
    ) -> Batch:
        """Delete tokens of some texts and collate them; the arguments are those of the base."""
        rows = np.asarray(indices if of is None else of)
        whole = [torch.from_numpy(self.texts[0].text(row).astype(np.int64)) for row in indices]
        left = [
            self._left(ids, self.generator(int(row), step)).numpy()
            for row, ids in zip(indices, whole, strict=True)
        ]
        labels_BW = padded([ids[1:] for ids in whole], IGNORED)
        return Batch(
            texts=(pad_tokens(left, self.pad_id),),
            labels=labels_BW if counted else torch.full_like(labels_BW, IGNORED),
            rows_B=torch.as_tensor(np.asarray(indices, dtype=np.int64)),
            num_units=max(1, int((self.lengths[rows] - 1).sum())),
            num_examples=len(rows),
            num_tokens=int(self.lengths[rows].sum()),
            counted=counted,
        )

    def _left(self, ids_L: Tensor, generator: torch.Generator) -> Tensor:
        """Return the ids of a text without those that are deleted."""
        words = (~torch.isin(ids_L, torch.tensor(self.special_ids))).nonzero()[:, 0]
        if not len(words):
            return ids_L
        deleted = torch.rand(len(words), generator=generator) < self.probability
        if deleted.all():
            deleted[torch.randint(len(words), (1,), generator=generator)] = False
        kept = torch.ones(len(ids_L), dtype=torch.bool)
        kept[words[deleted]] = False
        return ids_L[kept]


class TsdaeHead(PretrainingHead):
    """Head that restores a text, token by token, from its sentence embedding.

    The decoder is the one that sentence-transformers' `DenoisingAutoEncoderLoss` builds: it shares
    the encoder's weights, and its cross-attention reads the sentence embedding alone.

    Args:
        encoder: The encoder, whose parameters become those of the decoder.
        tokenizer: Its tokenizer.

    Raises:
        ConfigError: transformers has no decoder of the encoder's kind, or no token begins a text.
    """

    kind = "restored texts"

    def __init__(self, encoder: Encoder, tokenizer: TextTokenizer) -> None:
        super().__init__(encoder.width, ())
        if tokenizer.tokenizer.cls_token_id is None:
            raise ConfigError("encoder: its tokenizer has no token that begins each text")
        self.first_id = int(tokenizer.tokenizer.cls_token_id)
        self.decoder = tied_decoder(encoder, tokenizer)

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        """Compute the sentence embeddings (B, D)."""
        (text,) = encoded
        return pooling(text.hidden_BLD, text.mask_BL)

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss summed over the tokens of the whole texts."""
        return function(self.restore(logits, batch.labels), batch.labels)

    def predictions(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logarithms of the probabilities of the tokens, (B, W, V)."""
        return self.decode(self.restore(logits, batch.labels), None)

    def restore(self, sentence_BD: Tensor, labels_BW: Tensor) -> Tensor:
        """Compute the logits_BWV of each token, given the sentence embedding and those before it.

        Args:
            sentence_BD: Sentence embeddings of the texts without the deleted tokens.
            labels_BW: Ids of all tokens but the first; `IGNORED` for padding.
        """
        first_B1 = torch.full_like(labels_BW[:, :1], self.first_id)
        # What a decoder reads behind the end of a text has no effect on the tokens before.
        before_BW = torch.cat([first_B1, labels_BW[:, :-1].clamp(min=0)], dim=1)
        logits_BWV: Tensor = self.decoder(
            input_ids=before_BW, encoder_hidden_states=sentence_BD[:, None], use_cache=False
        ).logits
        return logits_BWV

    def save(self, encoder: Encoder, folder: Path) -> None:
        """Write the encoder without the decoder."""
        encoder.backbone.save_pretrained(folder)


class _SentenceModel(nn.Module):
    """Stand-in for a SentenceTransformer, of which the loss reads the model and the tokenizer."""

    def __init__(self, encoder: Encoder, tokenizer: TextTokenizer) -> None:
        super().__init__()
        self.transformers_model = encoder.backbone
        self.tokenizer = tokenizer.tokenizer

    def __getitem__(self, place: int) -> Self:
        return self


def tied_decoder(encoder: Encoder, tokenizer: TextTokenizer) -> PreTrainedModel:
    """Return a decoder whose parameters are those of the encoder, as far as it has them.

    Args:
        encoder: The encoder. Its parameters are replaced by those of the decoder, which are equal.
        tokenizer: Its tokenizer.

    Raises:
        ConfigError: transformers has no decoder of this kind.
    """
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = encoder.backbone.config
    unfit = ConfigError(
        "method=tsdae needs a decoder with cross-attention, and transformers has none of the kind "
        f"{config.model_type}: take method=masked_words, or another encoder"
    )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise unfit
    name = config.name_or_path
    # The loss loads the decoder from a folder.
    with TemporaryDirectory() as folder:
        encoder.backbone.save_pretrained(folder)
        tokenizer.tokenizer.save_pretrained(folder)
        config.name_or_path = folder
        decoder: PreTrainedModel = DenoisingAutoEncoderLoss(
            _SentenceModel(encoder, tokenizer)  # type: ignore[arg-type]
        ).decoder
    config.name_or_path = decoder.config.name_or_path = name
    # Other decoders take the sentence embedding without a word, and do not read it.
    if not any("crossattention" in name for name, _ in decoder.named_parameters()):
        raise unfit
    return decoder
