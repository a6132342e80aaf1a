"""Tokenize texts, and find the first piece of each word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from candelabra.data.special_tokens import around_pair, around_text
from candelabra.data.truncation import TRUNCATIONS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CACHE_FORMAT = 2
"""Part of every cache key. It grows when the stored arrays change their meaning."""
CHUNK = 1000
FEW_CHARACTERS = 64
"""Number of characters per token of `max_length` that are tokenized first."""
MANY_CHARACTERS = 4096
"""The same for a text whose first characters do not give enough tokens; the rest is ignored."""
WordSpans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TokenizedTexts:
    """Tokenized texts as flat arrays, which load in milliseconds.

    Attributes:
        ids: Token ids of all texts in order, including special tokens.
        starts: Position in `ids` where each text starts, and the end of the last text.
        first: Position of the first piece of each word; -1 for words removed by truncation.
        word_starts: Position in `first` where the words of each text start, and the end.
        second: For pairs in one sequence, the number of tokens before the second text.
    """

    ids: np.ndarray
    starts: np.ndarray
    first: np.ndarray | None = None
    word_starts: np.ndarray | None = None
    second: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.starts)

    def text(self, index: int) -> np.ndarray:
        """Return the token ids of one text."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    def words(self, index: int) -> np.ndarray:
        """Return the position of the first piece of each word of one text."""
        assert self.first is not None
        assert self.word_starts is not None
        return self.first[self.word_starts[index] : self.word_starts[index + 1]]


class TextTokenizer:
    """Fast Hugging Face tokenizer with truncation and word alignment.

    A row of words is tokenized as the words joined by spaces, like the same text at prediction.
    Character offsets assign the pieces to the words.

    Args:
        tokenizer: Fast tokenizer, which gives character offsets.
        max_length: Maximum number of tokens of a text, including special tokens.
        truncation: `head`, `tail` or `head_tail`.
        prompt: Text that is put before each text. It is cut like the text itself.

    Raises:
        ValueError: If the truncation is unknown, the tokenizer is slow or has no padding token, or
            `max_length` leaves no room for a token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: str = "head",
        prompt: str = "",
    ) -> None:
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation must be one of {list(TRUNCATIONS)}, got {truncation!r}")
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"a fast tokenizer is needed for character offsets, got {type(tokenizer).__name__}"
            )
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token, which batches need")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.prompt = prompt
        self.pad_id: int = tokenizer.pad_token_id
        self._prefix, self._suffix = around_text(tokenizer)
        self._budget = max_length - len(self._prefix) - len(self._suffix)
        if self._budget < 1:
            raise ValueError(f"max_length must leave room for a token, got {max_length}")

    def __call__(
        self, texts: Sequence[str], words: Sequence[WordSpans] | None = None
    ) -> TokenizedTexts:
        """Tokenize texts, and find the first piece of each word if `words` is given."""
        if self.prompt:
            texts, words = self._prompted(texts, words)
        ids, lengths, first, counts = [], [], [], []
        for row, (pieces, ends) in enumerate(self._pieces(texts, offsets=words is not None)):
            kept = TRUNCATIONS[self.truncation](len(pieces), self._budget)
            ids.append(np.concatenate([self._prefix, pieces[kept], self._suffix]))
            lengths.append(len(ids[-1]))
            if words is not None and ends is not None:
                position = np.full(len(pieces) + 1, -1)
                position[kept] = np.arange(len(kept)) + len(self._prefix)
                first.append(position[_first_pieces(words[row], ends)])
                counts.append(len(words[row]))
        return TokenizedTexts(
            ids=np.concatenate(ids).astype(np.int32),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            first=None if words is None else np.concatenate(first).astype(np.int32),
            word_starts=None if words is None else np.concatenate([[0], np.cumsum(counts)]),
        )

    def _prompted(
        self, texts: Sequence[str], words: Sequence[WordSpans] | None
    ) -> tuple[list[str], Sequence[WordSpans] | None]:
        """Return the texts behind the prompt, and the moved bounds of their words."""
        by = len(self.prompt)
        if words is not None:
            words = [[(start + by, end + by) for start, end in spans] for spans in words]
        return [self.prompt + text for text in texts], words

    def pairs(self, first: Sequence[str], second: Sequence[str]) -> TokenizedTexts:
        """Tokenize pairs, each as one sequence, of which the longer text is truncated first.

        Raises:
            ValueError: If the tokenizer puts nothing between two texts, or `max_length` leaves no
                room for two tokens.
        """
        before, between, after = around_pair(self.tokenizer)
        budget = self.max_length - len(before) - len(between) - len(after)
        if budget < 2:
            raise ValueError(f"max_length must leave room for two tokens, got {self.max_length}")
        cut, ids, seconds = TRUNCATIONS[self.truncation], [], []
        pieces = (self._pieces(texts, offsets=False) for texts in (first, second))
        for (one, _), (other, _) in zip(*pieces, strict=True):
            room = max(budget - len(other), budget - budget // 2)
            one = one[cut(len(one), room)]
            other = other[cut(len(other), budget - len(one))]
            seconds.append(len(before) + len(one) + len(between))
            ids.append(np.concatenate([before, one, between, other, after]))
        return TokenizedTexts(
            ids=np.concatenate(ids).astype(np.int32),
            starts=np.concatenate([[0], np.cumsum([len(each) for each in ids])]),
            second=np.array(seconds, dtype=np.int32),
        )

    def _pieces(
        self, texts: Sequence[str], *, offsets: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield token ids without special tokens and, if requested, their character offsets."""
        for begin in range(0, len(texts), CHUNK):
            whole = texts[begin : begin + CHUNK]
            cuts = [self._cut(text, FEW_CHARACTERS) for text in whole]
            found = self._encoded([part for cut in cuts for _, part in cut], offsets=offsets)
            for text, cut in zip(whole, cuts, strict=True):
                pieces = list(islice(found, len(cut)))
                # If a part holds white space or dropped characters, more of the text is needed.
                if cut[0][1] is not text and any(len(ids) < self.max_length for ids, _ in pieces):
                    cut = self._cut(text, MANY_CHARACTERS)
                    pieces = list(self._encoded([part for _, part in cut], offsets=offsets))
                yield _joined([start for start, _ in cut], pieces)

    def readable(self, text: str) -> list[tuple[int, int]]:
        """Return the ranges of characters outside of which a text is ignored."""
        return [(at, at + len(part)) for at, part in self._cut(text, MANY_CHARACTERS)]

    def _cut(self, text: str, characters_per_token: int) -> list[tuple[int, str]]:
        """Return the parts of a long text that hold the tokens to keep, each with its position.

        Each part has `characters_per_token` characters per token of `max_length`, or fewer: it is
        cut at a space if it has one. Without a space the tokens at the cut may change, but they
        are beyond `max_length`.
        """
        most = characters_per_token * self.max_length
        sides = {"head": (True, False), "tail": (False, True)}.get(self.truncation, (True, True))
        if len(text) <= most * sum(sides):
            return [(0, text)]
        parts = []
        if sides[0]:
            end = text.rfind(" ", 0, most)
            parts.append((0, text[: end if end > 0 else most]))
        if sides[1]:
            begin = text.find(" ", len(text) - most)
            begin = begin if begin >= 0 else len(text) - most
            parts.append((begin, text[begin:]))
        return parts

    def _encoded(
        self, texts: list[str], *, offsets: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )
        spans = encoded.get("offset_mapping", [None] * len(encoded["input_ids"]))
        for ids, span in zip(encoded["input_ids"], spans, strict=True):
            ends = None if span is None else np.asarray(span, dtype=np.int64).reshape(-1, 2)
            yield np.asarray(ids, dtype=np.int64), ends

    def fingerprint(self) -> str:
        """Return a hash that changes whenever the same text could get other ids."""
        settings = [CACHE_FORMAT, self.max_length, self.truncation]
        settings += [self.prompt] if self.prompt else []
        state = self.tokenizer.backend_tokenizer.to_str() + json.dumps(settings)
        return hashlib.sha256(state.encode()).hexdigest()


def _joined(
    starts: Sequence[int], parts: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the token ids of a text's parts as one, with offsets in the whole text."""
    if len(parts) == 1 and starts[0] == 0:
        return parts[0]
    spans = [
        ends + start for start, (_, ends) in zip(starts, parts, strict=True) if ends is not None
    ]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate(spans) if spans else None


def _first_pieces(words: WordSpans, spans: np.ndarray) -> np.ndarray:
    """Return the index of each word's first piece, or the number of pieces if there is none."""
    bounds = np.asarray(words, dtype=np.int64).reshape(-1, 2)
    index = np.searchsorted(spans[:, 1], bounds[:, 0], side="right")
    # An additional row that starts beyond every word means that a word has no piece.
    starts = np.append(spans[:, 0], np.iinfo(np.int64).max)
    return np.where(starts[index] < bounds[:, 1], index, len(spans))
