"""Collation of tokenized examples into padded batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from candelabra.data.features import SplitFeatures
from candelabra.data.loading import TaskData
from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from candelabra.records import IGNORED, Batch, Examples, Tokens


@dataclass(frozen=True)
class TokenizedSplit:
    """One split of a task with its texts tokenized.

    Attributes:
        examples: Validated rows.
        texts: Tokens of the rows, one `TokenizedTexts` for each text column.
        pad_id: Token id of padding.
        features: Stored output of the encoder's frozen part for the texts, if there is any.
    """

    examples: Examples
    texts: tuple[TokenizedTexts, ...]
    pad_id: int
    features: SplitFeatures | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the token count of the longest text of each example, of shape (N,)."""
        return np.max([tokenized.lengths for tokenized in self.texts], axis=0)

    @cached_property
    def units(self) -> np.ndarray:
        """Return the number of labels of each example that the loss is averaged over.

        For tags this is the number of labelled words that were not truncated, for multi-label tasks
        the number of known labels, and otherwise 1, or 0 if the label is missing.
        """
        tokenized, labels = self.texts[0], self.examples.labels
        if tokenized.first is None or tokenized.word_starts is None:
            return np.array([_num_known(label) for label in labels], dtype=np.int64)
        counted = tokenized.first >= 0
        known = np.fromiter((tag != IGNORED for tags in labels for tag in tags), dtype=bool)
        if len(known) == len(counted):  # texts without labels, as in prediction, have no tags
            counted = counted & known
        return np.add.reduceat(
            np.append(counted, False).astype(np.int64), tokenized.word_starts[:-1]
        )

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        of: np.ndarray | None = None,
        counted: bool = True,
        step: int | None = None,
    ) -> Batch:
        """Collate some examples into a batch, padded to the longest of them.

        Args:
            indices: Indices of the B examples.
            of: Indices of all examples of this task in the optimizer step, over which the loss is
                averaged; `None` if these are the `indices`.
            counted: `False` masks all labels. Such a batch lets a rank that has no examples take
                part in the forward and backward pass.
            step: Number of the optimizer step; splits whose examples change by step need it.

        Returns:
            The batch, with `ids_BL` of B texts of up to L tokens.
        """
        whole = np.asarray(indices) if of is None else of
        first_BW = None
        if self.texts[0].first is not None:
            first_BW = _pad([self.texts[0].words(i) for i in indices], fill=-1)
            labels = _pad([self.examples.labels[i] for i in indices], fill=IGNORED)
        else:
            labels = torch.as_tensor(np.asarray([self.examples.labels[i] for i in indices]))
            labels = labels.float() if labels.is_floating_point() else labels
        unknown = math.nan if labels.is_floating_point() else IGNORED
        return Batch(
            texts=self.tokens(indices),
            labels=labels if counted else torch.full_like(labels, unknown),
            rows_B=torch.as_tensor(np.asarray(indices, dtype=np.int64)),
            # At least 1: if truncation removed all labelled words, the loss is 0 / 1.
            num_units=max(1, int(self.units[whole].sum())),
            num_examples=len(whole),
            num_tokens=sum(int(tokenized.lengths[whole].sum()) for tokenized in self.texts),
            first_BW=first_BW,
            counted=counted,
        )

    def tokens(self, indices: Sequence[int] | np.ndarray) -> tuple[Tokens, ...]:
        """Return the padded tokens of some examples for each text column, with their features."""
        texts = tuple(
            pad_tokens(
                [tokenized.text(i) for i in indices],
                self.pad_id,
                None if tokenized.second is None else tokenized.second[np.asarray(indices)],
            )
            for tokenized in self.texts
        )
        if self.features is None:
            return texts
        stored = self.features.batch(indices)
        return tuple(
            replace(text, features_BLD=features_BLD)
            for text, features_BLD in zip(texts, stored, strict=True)
        )


def tokenize_task(
    data: TaskData,
    tokenizer: TextTokenizer,
    *,
    cache_dir: Path | None = None,
    cross: bool = False,
) -> dict[str, TokenizedSplit]:
    """Tokenize every split of a task, or load its tokens from the cache.

    Args:
        data: Validated rows of the task.
        tokenizer: Tokenizer of the encoder.
        cache_dir: Folder of the token cache; `None` disables it.
        cross: Whether the two texts of a pair form one sequence.

    Raises:
        ValueError: If `cross` is set and the tokenizer cannot encode two texts as one sequence.
    """
    return {
        split: TokenizedSplit(
            examples=examples,
            texts=tokenize_cached(
                examples,
                tokenizer,
                fingerprint=data.fingerprint[split],
                cache_dir=cache_dir,
                cross=cross,
            ),
            pad_id=tokenizer.pad_id,
        )
        for split, examples in data.splits.items()
    }


def longest_first(lengths_N: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield the rows of batches of texts of similar length.

    The longest texts come first, so that an out-of-memory error comes early.

    Args:
        lengths_N: Number of tokens of each row.
        size: Number of rows of a batch.

    Example:
        >>> [rows.tolist() for rows in longest_first(np.array([3, 9, 5]), 2)]
        [[1, 2], [0]]
    """
    rows_N = np.argsort(-lengths_N, kind="stable")
    for begin in range(0, len(rows_N), size):
        yield rows_N[begin : begin + size]


def pad_tokens(
    texts: Sequence[np.ndarray], pad_id: int, second: np.ndarray | None = None
) -> Tokens:
    """Pad token ids to the longest of the texts.

    Args:
        texts: Token ids of B texts.
        pad_id: Token id of padding.
        second: For pairs that are encoded together, the position of the first token of the second
            text, of shape (B,); sets the token types.

    Returns:
        Token ids, attention mask and, with `second`, token types, each of shape (B, L).
    """
    ids_BL = _pad(texts, fill=pad_id)
    lengths_B = torch.tensor([len(text) for text in texts])
    place_1L = torch.arange(ids_BL.shape[1])[None]
    mask_BL = (place_1L < lengths_B[:, None]).long()
    if second is None:
        return Tokens(ids_BL, mask_BL)
    types_BL = (place_1L >= torch.from_numpy(second)[:, None]).long() * mask_BL
    return Tokens(ids_BL, mask_BL, types_BL)


def _num_known(label: float | list[int]) -> int:
    if isinstance(label, list):
        return sum(value != IGNORED for value in label)
    return int(not math.isnan(label) if isinstance(label, float) else label != IGNORED)


def _pad(rows: Sequence[Sequence[int] | np.ndarray], *, fill: int) -> torch.Tensor:
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(padded)
