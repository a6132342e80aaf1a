"""Every head's answers for typed texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from candelabra.data.collate import TokenizedSplit
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.hardware import half
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Examples

WORD = re.compile(r"\w+|[^\w\s]")
"""How a typed text is cut into words for tagging: punctuation stands alone."""


def answers(
    model: MultiTaskModel,
    tokenizer: TextTokenizer,
    texts: str | Iterable[str],
    *,
    batch_size: int,
    precision: str,
) -> list[dict[str, Any]]:
    """See `Bundle.predict`."""
    texts = checked_texts(texts)
    if not any(model.head(task).alone for task in model.heads):
        raise ConfigError(
            f"none of the tasks ({', '.join(model.heads)}) says anything of a single text: "
            "embed, similarity and search use embeddings, search rerank= a cross-encoder"
        )
    found: list[dict[str, Any]] = [{"text": text} for text in texts]
    if not texts:
        return found
    # A text without words gets one without a piece, which is no part of any span.
    words = [[match.span() for match in WORD.finditer(text)] or [(0, 0)] for text in texts]
    examples = Examples((texts,), [[] for _ in texts], words, list(range(len(texts))))
    split = TokenizedSplit(examples, (tokenizer(texts, words),), tokenizer.pad_id)
    order = np.argsort(-split.lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size].tolist()
        for task, described in _described(model, split, rows, precision).items():
            for row, answer in zip(rows, described, strict=True):
                found[row][task] = answer
    return found


@torch.inference_mode()
def _described(
    model: MultiTaskModel, split: TokenizedSplit, rows: list[int], precision: str
) -> Mapping[str, list[Any]]:
    device = next(model.parameters()).device
    batch = split.batch(rows).to(device)
    with half(precision, device.type):
        logits = model.serve(batch.texts[0], batch.first_BW)
    examples = split.examples.take(rows)
    return {
        task: model.head(task).describe(answer, batch.first_BW, examples)
        for task, answer in logits.items()
    }


def checked_texts(texts: object) -> list[str]:
    """A text or several as a list.

    Raises:
        TypeError: It is neither.
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
