"""Predictions of every head for raw texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from unicodedata import category

import torch

from candelabra.data.collate import TokenizedSplit, longest_first
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.hardware import half
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Examples

WORD = re.compile(r"\w+|[^\w\s]")
"""Words of a raw text for tagging; every punctuation character is a word of its own."""
JOINERS = "\u200c\u200d"
"""The zero-width characters between letters that say whether these join."""


def answers(
    model: MultiTaskModel,
    tokenizer: TextTokenizer,
    texts: str | Iterable[str],
    *,
    batch_size: int,
    precision: str,
) -> list[dict[str, Any]]:
    """Compute the predictions of all heads that take a single text (see `Bundle.predict`).

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: One text or several.
        batch_size: Number of texts per forward pass.
        precision: Name of the precision, as in `candelabra.hardware.half`.

    Returns:
        For each text a dictionary with `text` and the prediction of each task.

    Raises:
        ConfigError: If no head takes a single text.
        TypeError: If `texts` contains something else than strings.
    """
    texts = checked_texts(texts)
    if not any(model.head(task).alone for task in model.heads):
        raise ConfigError(
            f"none of the tasks ({', '.join(model.heads)}) predicts for single texts: "
            "embed, similarity and search use embeddings, search rerank= a cross-encoder"
        )
    predictions: list[dict[str, Any]] = [{"text": text} for text in texts]
    if not texts:
        return predictions
    # A text without words gets an empty word without tokens, which is never part of a span.
    words = [_words(text, tokenizer) or [(0, 0)] for text in texts]
    examples = Examples((texts,), [[] for _ in texts], words, list(range(len(texts))))
    split = TokenizedSplit(examples, (tokenizer(texts, words),), tokenizer.pad_id)
    for rows_B in longest_first(split.lengths, batch_size):
        rows = rows_B.tolist()
        for task, described in _described(model, split, rows, precision).items():
            for row, answer in zip(rows, described, strict=True):
                predictions[row][task] = answer
    return predictions


def _words(text: str, tokenizer: TextTokenizer) -> list[tuple[int, int]]:
    parts, joined = tokenizer.readable(text), with_marks_joined(text)
    return [match.span() for part in parts for match in WORD.finditer(joined, *part)]


def with_marks_joined(text: str) -> str:
    r"""Return a text of the same length in which `WORD` does not end at combining marks.

    Accents that stand behind their letter, the vowels of Hindi and Thai, and the two joiners are
    parts of their words, and no `\w`.

    Example:
        >>> WORD.findall(with_marks_joined("Ame\u0301lie's"))
        ['Ame_lie', "'", 's']
    """
    if text.isascii():
        return text
    return "".join("_" if category(c)[0] == "M" or c in JOINERS else c for c in text)


@torch.inference_mode()
def _described(
    model: MultiTaskModel, split: TokenizedSplit, rows: list[int], precision: str
) -> Mapping[str, list[Any]]:
    device = next(model.parameters()).device
    batch = split.batch(rows).to(device)
    with half(precision, device.type):
        logits = model.infer_all(batch.texts[0], batch.first_BW)
    examples = split.examples.take(rows)
    return {
        task: model.head(task).describe(answer, batch.first_BW, examples)
        for task, answer in logits.items()
    }


def checked_texts(texts: object) -> list[str]:
    """Return one text or several texts as a list.

    Raises:
        TypeError: If `texts` is neither a string nor an iterable of strings.

    Example:
        >>> checked_texts("a fine film")
        ['a fine film']
    """
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        found = f"{type(texts).__name__}: {texts!r}"
        raise TypeError(f"texts must be a text or a sequence of texts, found {found}")
    listed = list(texts)
    for place, text in enumerate(listed):
        if not isinstance(text, str):
            found = f"{type(text).__name__} at position {place}: {text!r}"
            raise TypeError(f"texts must hold nothing but texts, found {found}")
    return listed
