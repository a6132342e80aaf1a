"""Special tokens that a tokenizer puts around texts, such as [CLS] and [SEP]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def around_text(tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """Return the special tokens before and after a single text.

    Raises:
        ValueError: If the tokenizer has no token for a letter, because it has no vocabulary.
    """
    ids, inner = _probe(tokenizer, "a")
    if not len(inner):
        raise ValueError("the tokenizer has no vocabulary: it gives no token for the text 'a'")
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def around_pair(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the special tokens before, between and after two texts in one sequence.

    Raises:
        ValueError: If the tokenizer puts nothing between two texts.
    """
    ids, inner = _probe(tokenizer, "a", "a")
    gaps = np.flatnonzero(np.diff(inner) > 1)
    if not len(gaps):
        raise ValueError(
            "cross: true needs a tokenizer that puts a special token between two texts, got "
            f"{type(tokenizer).__name__}, which puts none"
        )
    gap = int(gaps[0])
    return ids[: inner[0]], ids[inner[gap] + 1 : inner[gap + 1]], ids[inner[-1] + 1 :]


def _probe(tokenizer: PreTrainedTokenizerBase, *texts: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the texts, and the positions of those that are not special."""
    probe = tokenizer(*texts, return_special_tokens_mask=True)
    special = np.asarray(probe["special_tokens_mask"])
    return np.asarray(probe["input_ids"]), np.flatnonzero(special == 0)
