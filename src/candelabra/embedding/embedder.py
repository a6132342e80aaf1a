"""Compute sentence embeddings.

Shapes: N texts, B texts of a batch, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.data.collate import longest_first, pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import DataError
from candelabra.hardware import half
from candelabra.model.multitask import MultiTaskModel

CHUNK = 8192
"""Number of texts that are tokenized and sorted by length together."""
OnBatch = Callable[[int], None]
"""Callback that receives the number of texts of each batch after its forward pass."""


@dataclass(frozen=True)
class Embedder:
    """Sentence encoder: tokenizer, encoder and pooling.

    Attributes:
        model: Encoder and poolings, in eval mode.
        tokenizer: Tokenizer of the encoder.
        task: Task whose pooling, layer mix and adapter are used, or `None` for the shared pooling.
        normalize: Whether to scale embeddings to unit length.
        truncate_dim: Number of leading dimensions to keep, as in Matryoshka embeddings, or `None`
            for all.

    Raises:
        ValueError: The task does not exist, `task` is `None` although each task has its own
            adapter, or `truncate_dim` exceeds the width.
    """

    model: MultiTaskModel
    tokenizer: TextTokenizer
    task: str | None = None
    normalize: bool = True
    truncate_dim: int | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        self.model.check_reader(self.task)
        width = self.model.embedding_width(self.task)
        if self.truncate_dim is not None and not 1 <= self.truncate_dim <= width:
            raise ValueError(f"truncate_dim must be from 1 to {width}, got {self.truncate_dim}")

    @property
    def width(self) -> int:
        """Return D, the width of an embedding."""
        return self.truncate_dim or self.model.embedding_width(self.task)

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 64, precision: str = "32-true"
    ) -> np.ndarray:
        """Compute the embeddings of texts.

        Duplicates within `CHUNK` texts are embedded once. Batches contain texts of similar length.

        Args:
            texts: N texts.
            batch_size: Number of texts per forward pass.
            precision: `32-true`, or `bf16-mixed` on hardware that supports it.

        Returns:
            Embeddings (N, D) in float32, in the order of the texts.

        Raises:
            DataError: An embedding is not finite.
        """
        parts = list(self.chunks(texts, batch_size=batch_size, precision=precision))
        return np.concatenate(parts) if parts else np.empty((0, self.width), dtype=np.float32)

    def chunks(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        precision: str = "32-true",
        on_batch: OnBatch | None = None,
    ) -> Iterator[np.ndarray]:
        """Compute embeddings like `embed`, in chunks of up to `CHUNK` texts.

        Args:
            texts: N texts.
            batch_size: Number of texts per forward pass.
            precision: As in `embed`.
            on_batch: Callback for a progress bar.

        Yields:
            Embeddings (n, D) of the next n texts.

        Raises:
            DataError: An embedding is not finite.
        """
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            distinct = {text: place for place, text in enumerate(dict.fromkeys(chunk))}
            vectors_ND = self._distinct(list(distinct), batch_size, precision, on_batch)
            yield vectors_ND[[distinct[text] for text in chunk]]

    @torch.inference_mode()
    def _distinct(
        self, texts: list[str], batch_size: int, precision: str, on_batch: OnBatch | None
    ) -> np.ndarray:
        tokenized = self.tokenizer(texts)
        device = next(self.model.parameters()).device
        order: list[np.ndarray] = []
        parts: list[Tensor] = []
        with half(precision, device.type):
            for rows in longest_first(tokenized.lengths, batch_size):
                tokens = pad_tokens([tokenized.text(row) for row in rows], self.tokenizer.pad_id)
                parts.append(self.finish(self.model.embed(tokens.to(device), self.task)))
                order.append(rows)
                if on_batch is not None:
                    on_batch(len(rows))
        vectors_ND = np.empty((len(texts), self.width), dtype=np.float32)
        vectors_ND[np.concatenate(order)] = torch.cat(parts).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
        if len(bad):
            raise DataError(
                f"the embeddings of {len(bad)} of {len(vectors_ND)} texts are not finite, such as "
                f"that of {texts[bad[0]][:60]!r}: the weights are damaged, or the precision is too "
                "low"
            )
        return vectors_ND

    def finish(self, sentence_BD: Tensor) -> Tensor:
        """Truncate and normalize embeddings according to the settings.

        Args:
            sentence_BD: Output of the pooling.

        Returns:
            Embeddings in float32.
        """
        vectors_BD = sentence_BD.float()[:, : self.truncate_dim]
        return F.normalize(vectors_BD) if self.normalize else vectors_BD
