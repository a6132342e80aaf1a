"""Text -> token ids; words -> the position of each word's first piece. Done once, then cached."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from candelabra.data.token_cache import read_arrays, write_arrays
from candelabra.records import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

CACHE_FORMAT = 2
"""Part of every cache key: raised when the stored arrays change their meaning."""
CHUNK = 1000
CHARACTERS_PER_TOKEN = 64
"""Characters of a text for each token that fits; of a longer text the rest is not tokenised."""
WordSpans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TokenizedTexts:
    """Many tokenised texts as flat arrays, which load in milliseconds.

    Attributes:
        ids: Token ids of all texts, one text after the other, special tokens included.
        starts: Where each text starts in `ids`; one more entry closes the last text.
        first: For each word of each text, the position of its first piece; -1 where cut.
        word_starts: Where each text's words start in `first`.
        second: Of pairs in one sequence, how many tokens of each stand before its second text.
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
        """Tokens in each text."""
        return np.diff(self.starts)

    def text(self, index: int) -> np.ndarray:
        """Token ids of one text."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    def words(self, index: int) -> np.ndarray:
        """First-piece positions of one text's words."""
        assert self.first is not None
        assert self.word_starts is not None
        return self.first[self.word_starts[index] : self.word_starts[index + 1]]


# Truncation: (tokens in the text, tokens that fit) -> positions kept, in order.


def head(length: int, budget: int) -> np.ndarray:
    """Keeps the beginning."""
    return np.arange(min(length, budget))


def tail(length: int, budget: int) -> np.ndarray:
    """Keeps the end."""
    return np.arange(max(0, length - budget), length)


def head_tail(length: int, budget: int) -> np.ndarray:
    """Keeps the first quarter and fills up from the end (Sun et al. 2019: 128 + 382 of 510)."""
    if length <= budget:
        return np.arange(length)
    front = round(budget / 4)
    return np.concatenate([np.arange(front), np.arange(length - (budget - front), length)])


TRUNCATIONS: dict[str, Callable[[int, int], np.ndarray]] = {
    "head": head,
    "tail": tail,
    "head_tail": head_tail,
}


class TextTokenizer:
    """A fast Hugging Face tokenizer with our truncation and word alignment.

    A pre-split row is tokenised as its words joined by spaces, exactly as the same text typed in
    by a person is at prediction; words find their pieces by character offsets.

    Args:
        tokenizer: A fast tokenizer (offsets are needed).
        max_length: Most tokens in a text, special tokens included.
        truncation: `head`, `tail` or `head_tail`.

    Raises:
        ValueError: An unknown truncation, a slow tokenizer, or no room for a single token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, truncation: str = "head"
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
        self.pad_id: int = tokenizer.pad_token_id
        self._prefix, self._suffix = _special_tokens(tokenizer)
        self._budget = max_length - len(self._prefix) - len(self._suffix)
        if self._budget < 1:
            raise ValueError(f"encoder.max_length must leave room for a token, got {max_length}")

    def __call__(
        self, texts: Sequence[str], words: Sequence[WordSpans] | None = None
    ) -> TokenizedTexts:
        """Tokenises `texts`; with `words`, also finds each word's first piece."""
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

    def pairs(self, first: Sequence[str], second: Sequence[str]) -> TokenizedTexts:
        """Tokenises pairs, each as one sequence; of one too long the longer text is cut first.

        Raises:
            ValueError: The tokenizer puts nothing between two texts, or no room for two tokens.
        """
        before, between, after = _special_tokens_of_pairs(self.tokenizer)
        budget = self.max_length - len(before) - len(between) - len(after)
        if budget < 2:
            raise ValueError(
                f"encoder.max_length must leave room for two tokens, got {self.max_length}"
            )
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
        """Each text's token ids without special tokens and, on demand, (start, end) characters."""
        for begin in range(0, len(texts), CHUNK):
            whole = texts[begin : begin + CHUNK]
            short = [self._beginning(text) for text in whole]
            found = self._encoded(short, offsets=offsets)
            for text, part, pieces in zip(whole, short, found, strict=True):
                # White space, or what is no word, may fill a beginning: then all of it is needed.
                enough = len(part) == len(text) or len(pieces[0]) >= self.max_length
                yield pieces if enough else next(self._encoded([text], offsets=offsets))

    def _beginning(self, text: str) -> str:
        """A text's beginning, up to a space, where nothing behind it can be kept."""
        most = CHARACTERS_PER_TOKEN * self.max_length
        if self.truncation != "head" or len(text) <= most:
            return text
        end = text.rfind(" ", 0, most)
        # Without a space the tokens at the cut may be others, and more than fit stand before it.
        return text[: end if end > 0 else most]

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
        """Changes whenever the same text could get other ids."""
        settings = [CACHE_FORMAT, self.max_length, self.truncation]
        state = self.tokenizer.backend_tokenizer.to_str() + json.dumps(settings)
        return hashlib.sha256(state.encode()).hexdigest()


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """The special tokens that stand before and after a single text."""
    probe = tokenizer("a", return_special_tokens_mask=True)
    special = np.asarray(probe["special_tokens_mask"])
    ids = np.asarray(probe["input_ids"])
    inner = np.flatnonzero(special == 0)
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def _special_tokens_of_pairs(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The special tokens that stand before, between and after two texts."""
    probe = tokenizer("a", "a", return_special_tokens_mask=True)
    ids, special = np.asarray(probe["input_ids"]), np.asarray(probe["special_tokens_mask"])
    inner = np.flatnonzero(special == 0)
    gaps = np.flatnonzero(np.diff(inner) > 1)
    if not len(gaps):
        raise ValueError(
            "cross: true needs a tokenizer that puts a special token between two texts, got "
            f"{type(tokenizer).__name__}, which puts none"
        )
    gap = int(gaps[0])
    return ids[: inner[0]], ids[inner[gap] + 1 : inner[gap + 1]], ids[inner[-1] + 1 :]


def _first_pieces(words: WordSpans, spans: np.ndarray) -> np.ndarray:
    """Index of each word's first piece; the last index + 1 where the tokenizer left none."""
    bounds = np.asarray(words, dtype=np.int64).reshape(-1, 2)
    index = np.searchsorted(spans[:, 1], bounds[:, 0], side="right")
    # One more row, starting beyond every word, stands for "no piece".
    starts = np.append(spans[:, 0], np.iinfo(np.int64).max)
    return np.where(starts[index] < bounds[:, 1], index, len(spans))


def tokenize_cached(
    examples: Examples,
    tokenizer: TextTokenizer,
    *,
    fingerprint: str,
    cache_dir: Path | None,
    cross: bool = False,
) -> tuple[TokenizedTexts, ...]:
    """One `TokenizedTexts` per text column, from the cache where it holds them.

    Args:
        examples: The rows to tokenise.
        tokenizer: The run's tokenizer.
        fingerprint: Identifies the examples' content.
        cache_dir: Where arrays are kept; None keeps nothing.
        cross: The two texts of a pair become one sequence.
    """
    key = hashlib.sha256(f"{fingerprint} {tokenizer.fingerprint()}".encode()).hexdigest()[:32]
    makers = {
        str(index): partial(tokenizer, column, examples.words)
        for index, column in enumerate(examples.texts)
    }
    if cross:
        makers = {"cross": partial(tokenizer.pairs, *examples.texts)}
    return tuple(
        _load_or_make(make, None if cache_dir is None else cache_dir / f"{key}-{name}.safetensors")
        for name, make in makers.items()
    )


def _load_or_make(make: Callable[[], TokenizedTexts], path: Path | None) -> TokenizedTexts:
    from safetensors import SafetensorError

    if path is not None and path.exists():
        try:
            return TokenizedTexts(**read_arrays(path))
        except (OSError, TypeError, ValueError) as error:
            log.warning("token cache %s is damaged (%s); made anew", path, error)
    tokenized = make()
    if path is not None:
        arrays = {name: array for name, array in vars(tokenized).items() if array is not None}
        try:
            write_arrays(path, arrays)
        except (OSError, SafetensorError) as error:
            log.warning("token cache %s cannot be written (%s); going on without", path, error)
    return tokenized
