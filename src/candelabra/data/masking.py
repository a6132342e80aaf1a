"""Texts of which some tokens are masked, as transformers' collator for masked words does it.

Shapes: B examples, L token positions, W masked tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from candelabra.data.collate import TokenizedSplit, pad_tokens
from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.records import IGNORED, Batch, Examples

if TYPE_CHECKING:
    from transformers import DataCollatorForLanguageModeling


@dataclass(frozen=True, kw_only=True)
class MaskedSplit(TokenizedSplit):
    """Split of texts whose words are its labels: a model has to predict those that are masked.

    Which tokens are masked depends on the seed, the step and the row alone, so that processes,
    workers and a resumed run mask the same.

    Attributes:
        collator: Collator of transformers that masks tokens.
        seed: Seed of the masks.
    """

    collator: DataCollatorForLanguageModeling = field(repr=False)
    seed: int = 0

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
        labels_BW = _padded(labels, IGNORED)
        return Batch(
            texts=(pad_tokens([masked[int(row)][0].numpy() for row in indices], self.pad_id),),
            labels=labels_BW if counted else torch.full_like(labels_BW, IGNORED),
            rows_B=torch.as_tensor(np.asarray(indices, dtype=np.int64)),
            # At least 1: short texts may have no masked token.
            num_units=max(1, sum(int((labels != IGNORED).sum()) for _, labels in masked.values())),
            num_examples=len(rows),
            num_tokens=int(self.lengths[rows].sum()),
            first_BW=_padded(places, -1),
            counted=counted,
        )

    def _masked(self, row: int, step: int | None) -> tuple[Tensor, Tensor]:
        """Return the ids of a text with masked tokens, and the original ids of these tokens."""
        ids_1L = torch.from_numpy(self.texts[0].text(row).astype(np.int64))[None]
        special = np.isin(ids_1L.numpy(), self.collator.tokenizer.all_special_ids)
        words = [self.seed, 0 if step is None else step + 1, row]
        state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
        self.collator.generator = torch.Generator().manual_seed(int(state))
        ids_1L, labels_1L = self.collator.torch_mask_tokens(
            ids_1L, special_tokens_mask=torch.from_numpy(special)
        )
        return ids_1L[0], labels_1L[0]


def masked_split(
    texts: Sequence[str],
    tokenizer: TextTokenizer,
    *,
    fingerprint: str,
    cache_dir: str | None,
    probability: float,
    seed: int,
) -> MaskedSplit:
    """Tokenize texts, and mask them when they are collated.

    Args:
        texts: Texts of the split.
        tokenizer: Tokenizer of the encoder.
        fingerprint: Hash of the texts.
        cache_dir: Folder of the token cache; `None` disables it.
        probability: Probability that a token is masked.
        seed: Seed of the masks.

    Raises:
        ConfigError: The tokenizer has no token for masked words.
    """
    from transformers import DataCollatorForLanguageModeling

    if tokenizer.tokenizer.mask_token is None:
        raise ConfigError("encoder: its tokenizer has no mask token, which masked words need")
    examples = Examples((list(texts),), [IGNORED] * len(texts), None, list(range(len(texts))))
    return MaskedSplit(
        examples=examples,
        texts=tokenize_cached(
            examples,
            tokenizer,
            fingerprint=fingerprint,
            cache_dir=None if cache_dir is None else Path(cache_dir),
        ),
        pad_id=tokenizer.pad_id,
        collator=DataCollatorForLanguageModeling(
            tokenizer=tokenizer.tokenizer, mlm_probability=probability
        ),
        seed=seed,
    )


def _padded(rows: Sequence[Tensor], fill: int) -> Tensor:
    """Return rows as one tensor with at least one column."""
    padded = pad_sequence(list(rows), batch_first=True, padding_value=fill)
    return padded if padded.shape[1] else padded.new_full((len(rows), 1), fill)
