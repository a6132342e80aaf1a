"""Texts -> sentence embeddings.

Shapes: N texts, B of them in a pass, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.data.collate import pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import DataError
from candelabra.hardware import half
from candelabra.model.multitask import MultiTaskModel

CHUNK = 8192
"""Texts that are tokenised and sorted by length together."""
Told = Callable[[int], None]
"""Called after each pass with the number of its texts."""


@dataclass(frozen=True)
class Embedder:
    """An encoder with a pooling, ready for texts.

    Attributes:
        model: Encoder and poolings, in eval mode.
        tokenizer: Text -> token ids.
        task: Whose pooling, mix of layers and adapter are used; None: the run's pooling.
        normalize: Vectors get unit length.
        truncate_dim: Keeps the first dimensions only, as Matryoshka training provides for.

    Raises:
        ValueError: There is no such task; each task has an adapter, and none is named; or
            `truncate_dim` is beyond the width.
    """

    model: MultiTaskModel
    tokenizer: TextTokenizer
    task: str | None = None
    normalize: bool = True
    truncate_dim: int | None = None

    def __post_init__(self) -> None:
        """Checks the settings."""
        self.model.check_reader(self.task)
        width = self.model.encoder.width
        if self.truncate_dim is not None and not 1 <= self.truncate_dim <= width:
            raise ValueError(f"truncate_dim must be from 1 to {width}, got {self.truncate_dim}")

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return self.truncate_dim or self.model.encoder.width

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 64, precision: str = "32-true"
    ) -> np.ndarray:
        """The vectors of texts, (N, D) in float32, in the order of the texts.

        Args:
            texts: Of equal ones in `CHUNK` texts, one is embedded.
            batch_size: Texts in a pass; neighbours in length share one.
            precision: `32-true`, or `bf16-mixed` where the hardware has it.

        Raises:
            DataError: A vector is not finite.
        """
        parts = list(self.chunks(texts, batch_size=batch_size, precision=precision))
        return np.concatenate(parts) if parts else np.empty((0, self.width), dtype=np.float32)

    def chunks(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        precision: str = "32-true",
        told: Told | None = None,
    ) -> Iterator[np.ndarray]:
        """As `embed`, `CHUNK` texts at a time; `told` is for a progress bar."""
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            distinct = {text: place for place, text in enumerate(dict.fromkeys(chunk))}
            vectors_ND = self._distinct(list(distinct), batch_size, precision, told)
            yield vectors_ND[[distinct[text] for text in chunk]]

    @torch.inference_mode()
    def _distinct(
        self, texts: list[str], batch_size: int, precision: str, told: Told | None
    ) -> np.ndarray:
        tokenized = self.tokenizer(texts)
        device = next(self.model.parameters()).device
        order = np.argsort(-tokenized.lengths, kind="stable")
        parts = []
        with half(precision, device.type):
            for begin in range(0, len(order), batch_size):
                rows = order[begin : begin + batch_size]
                tokens = pad_tokens([tokenized.text(row) for row in rows], self.tokenizer.pad_id)
                parts.append(self.finish(self.model.sentences(tokens.to(device), self.task)))
                if told is not None:
                    told(len(rows))
        vectors_ND = torch.cat(parts).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
        if len(bad):
            raise DataError(
                f"the model gives {len(bad)} of {len(vectors_ND)} texts a vector that is not all "
                f"numbers, such as {texts[order[bad[0]]][:60]!r}: its weights are damaged, or the "
                "precision does not suffice"
            )
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return vectors_ND[back]

    def finish(self, sentence_BD: Tensor) -> Tensor:
        """Cut and brought to unit length, as asked for; in float32."""
        vectors_BD = sentence_BD.float()[:, : self.truncate_dim]
        return F.normalize(vectors_BD) if self.normalize else vectors_BD
