"""A head without parameters: the sentence embeddings themselves.

Shapes: B examples, K texts of each, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.data.shapes import (
    PAIR_WITH_LABEL,
    PAIR_WITH_SCORE,
    POSITIVE_PAIR,
    TEXT_WITH_LABEL,
    TRIPLET,
)
from candelabra.model.heads import Head, Loss, Pooling
from candelabra.objective.contrastive import fitting, rule_of
from candelabra.objective.gathering import gathered
from candelabra.records import Batch, Encoded, Examples


class EmbeddingHead(Head):
    """Learns from how texts lie to each other; what is kept of it is the encoder.

    Args:
        width: Width of a token embedding.
        labels: Label names, where the data have labels.
        normalize: Embeddings get unit length, here as when the model embeds.
        matryoshka_dims: The loss is taken of these beginnings of the embeddings as well, so that
            short vectors are good ones too (Kusupati et al. 2022).
        part_size: Texts in a pass of the encoder. Only their embeddings are kept, and the pass is
            repeated for the gradient, so that a large batch needs the memory of a small one
            (GradCache, Gao et al. 2021). None: all at once.

    Raises:
        ValueError: A setting is out of its range.
    """

    num_texts = 0
    alone = False
    shapes = (PAIR_WITH_SCORE, PAIR_WITH_LABEL, POSITIVE_PAIR, TRIPLET, TEXT_WITH_LABEL)

    def __init__(
        self,
        width: int,
        labels: Sequence[str] = (),
        *,
        normalize: bool = True,
        matryoshka_dims: Sequence[int] = (),
        part_size: int | None = None,
    ) -> None:
        super().__init__(width, labels)
        for dim in matryoshka_dims:
            if not 1 <= dim <= width:
                raise ValueError(f"matryoshka_dims must be from 1 to {width}, found {dim}")
        if part_size is not None and part_size < 1:
            raise ValueError(f"part_size must be at least 1, found {part_size}")
        self.normalize = normalize
        self.dims = sorted({width, *matryoshka_dims}, reverse=True)
        self.part_size = part_size

    @property
    def num_choices(self) -> int:
        """None: nothing is chosen."""
        return 0

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """embeddings_BKD of each example's texts, in float32."""
        pooled = [pooling(text.hidden_BLD, text.mask_BL) for text in encoded]
        return torch.stack(pooled, dim=1).float()

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """The loss over the batch, of all its processes together where it compares examples."""
        if not rule_of(function).in_batch:
            if not batch.counted:
                return logits.sum() * 0.0
            return self._of_all_dims(function, logits, batch.labels)
        embeddings_NKD, labels_N, parts = gathered(logits, batch.labels, batch.num_examples)
        return self._of_all_dims(function, embeddings_NKD, labels_N) / parts

    def _of_all_dims(self, function: Loss, embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
        # Autocast would round the embeddings again, which some losses do not bear.
        with torch.autocast(embeddings_BKD.device.type, enabled=False):
            short = (self._finished(embeddings_BKD[..., :dim]) for dim in self.dims)
            return torch.stack([function(each, labels_B) for each in short]).sum()

    def _finished(self, embeddings_BKD: Tensor) -> Tensor:
        return F.normalize(embeddings_BKD, dim=-1) if self.normalize else embeddings_BKD

    def takes_of(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """The losses that data of this shape can train by."""
        return fitting(shape)

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raises ValueError where a loss does not fit the shape of the data, or their labels."""
        rule_of(function).check(shape, self.labels)

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """The embeddings, (B, K, D), in float32."""
        return self._finished(logits.float())

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any] | None]:
        """`similarity` of a pair; of a triplet also that to the negative. None for a text alone."""
        embeddings_BKD = self.decode(logits)
        cosines_BM = torch.cosine_similarity(
            embeddings_BKD[:, :1], embeddings_BKD[:, 1:], dim=-1
        ).tolist()
        names = ("similarity", "to_negative")
        return [dict(zip(names, row, strict=False)) or None for row in cosines_BM]

    def describe_labels(self, examples: Examples) -> list[Any]:
        """Label names, or scores from 0 to 1."""
        return [self.labels[label] if self.labels else label for label in examples.labels]
