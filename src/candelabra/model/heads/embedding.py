"""Head without parameters that returns the sentence embeddings.

Shapes: B examples, K texts per example, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.data.rows.shapes import (
    PAIR_WITH_LABEL,
    PAIR_WITH_SCORE,
    POSITIVE_PAIR,
    TEXT_WITH_LABEL,
    TRIPLET,
)
from candelabra.losses.gathering import all_gather
from candelabra.losses.rules import losses_for, rule_of
from candelabra.model.heads.base import Head, Loss, Pooling
from candelabra.records import IGNORED, Batch, Encoded, Examples


class EmbeddingHead(Head):
    """Head that trains the encoder with a loss on the sentence embeddings of an example's texts.

    Args:
        width: Width of a token embedding.
        labels: Label names, if the data has labels.
        normalize: Whether to scale embeddings to unit length, in the loss and in predictions.
        matryoshka_dims: Lengths of prefixes of the embeddings to which the loss is also applied, so
            that truncated vectors are useful too (Kusupati et al. 2022).
        mini_batch_size: Number of examples per forward pass of the encoder. Only the embeddings are
            kept and the pass is repeated for the gradient, so a large batch needs only the memory
            of a small one (GradCache, Gao et al. 2021). By default, the whole batch in one pass.

    Raises:
        ValueError: If a matryoshka dimension is not in 1..`width`, or `mini_batch_size` is less
            than 1.
    """

    num_texts = 0
    alone = False
    only_pools = True
    kind = "embedding"
    formats = ("sentence_transformers", "onnx")
    has_logits = False
    shapes = (PAIR_WITH_SCORE, PAIR_WITH_LABEL, POSITIVE_PAIR, TRIPLET, TEXT_WITH_LABEL)

    def __init__(
        self,
        width: int,
        labels: Sequence[str] = (),
        *,
        normalize: bool = True,
        matryoshka_dims: Sequence[int] = (),
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(width, labels)
        for dim in matryoshka_dims:
            if not 1 <= dim <= width:
                raise ValueError(f"matryoshka_dims must be from 1 to {width}, found {dim}")
        if mini_batch_size is not None and mini_batch_size < 1:
            raise ValueError(f"mini_batch_size must be at least 1, found {mini_batch_size}")
        self.normalize = normalize
        self.dims = sorted({width, *matryoshka_dims}, reverse=True)
        self.mini_batch_size = mini_batch_size

    @property
    def num_choices(self) -> int:
        """Always 0, because the head does not choose among labels."""
        return 0

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """Pool the texts of each example.

        Args:
            encoded: K encoded text columns.
            pooling: Function (hidden_BLD, mask_BL) -> sentence_BD.
            first_BW: Not used.

        Returns:
            embeddings_BKD in float32, not normalized.
        """
        pooled = [pooling(text.hidden_BLD, text.mask_BL) for text in encoded]
        return torch.stack(pooled, dim=1).float()

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the labelled examples.

        If it compares examples, they are gathered over all processes.
        """
        if not rule_of(function).in_batch:
            return self._of_all_dims(function, logits, batch.labels)
        embeddings_NKD, labels_N, parts = all_gather(logits, batch.labels, batch.num_examples)
        return self._of_all_dims(function, embeddings_NKD, labels_N) / parts

    def _of_all_dims(self, function: Loss, embeddings_BKD: Tensor, labels_B: Tensor) -> Tensor:
        missing_B = labels_B.isnan() if labels_B.is_floating_point() else labels_B == IGNORED
        if missing_B.all():
            return embeddings_BKD.sum() * 0.0
        embeddings_BKD, labels_B = embeddings_BKD[~missing_B], labels_B[~missing_B]
        # Autocast would round the embeddings again, which makes some losses inaccurate.
        with torch.autocast(embeddings_BKD.device.type, enabled=False):
            prefixes = (self._normalized(embeddings_BKD[..., :dim]) for dim in self.dims)
            return torch.stack([function(each, labels_B) for each in prefixes]).sum()

    def _normalized(self, embeddings_BKD: Tensor) -> Tensor:
        return F.normalize(embeddings_BKD, dim=-1) if self.normalize else embeddings_BKD

    def soft_answers(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the embeddings that a student learns from, (B, K, D)."""
        return self.decode(logits)

    def fit_answers(self, answers: Tensor) -> Tensor:
        """Return a teacher's embeddings (N, K, D) in the width of this head."""
        rows = fit_width(answers.flatten(0, 1).float(), self.width)
        return self._normalized(rows).view(*answers.shape[:2], self.width).to(answers.dtype)

    def kl_to(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """Compute the squared distance of embeddings from those of a teacher (Reimers 2020).

        It is `MSELoss` of sentence-transformers times the width. The temperature does not apply.

        Args:
            logits: Embeddings (B, K, D).
            reference: Embeddings of the teacher in the same shape.
            temperature: Not used.

        Returns:
            Mean over the texts of each example, (B).
        """
        ours_BKD, theirs_BKD = self._normalized(logits), self._normalized(reference)
        return (ours_BKD - theirs_BKD).square().sum(dim=-1).mean(dim=-1)

    def takes_of(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the losses that can train on data of this shape."""
        return losses_for(shape)

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raise ValueError if the loss does not fit the shape of the data or its labels."""
        rule_of(function).check(shape, self.labels)

    def decode(self, logits: Tensor, first_BW: Tensor | None = None) -> Tensor:
        """Return the embeddings (B, K, D) in float32, normalized if `normalize` is set."""
        return self._normalized(logits.float())

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any] | None]:
        """Return the cosine similarity of each example's first text to its other texts.

        Returns:
            `similarity` for a pair, also `to_negative` for a triplet, `None` for a single text.
        """
        embeddings_BKD = self.decode(logits)
        cosines_BM = torch.cosine_similarity(
            embeddings_BKD[:, :1], embeddings_BKD[:, 1:], dim=-1
        ).tolist()
        names = ("similarity", "to_negative")
        return [dict(zip(names, row, strict=False)) or None for row in cosines_BM]

    def describe_labels(self, examples: Examples) -> list[Any]:
        """Return the gold label names, or the gold scores from 0 to 1 if there are no labels."""
        return [self.labels[label] if self.labels else label for label in examples.labels]


def fit_width(vectors_ND: Tensor, width: int) -> Tensor:
    """Return vectors in another width, with inner products as near as possible to the original.

    Wider vectors are projected on the principal axes of their second moments, which is the best
    approximation of all inner products (Eckart & Young 1936). Narrower ones get zeros.

    Args:
        vectors_ND: N vectors of any width.
        width: Width of the result.
    """
    missing = width - vectors_ND.shape[1]
    if missing >= 0:
        return F.pad(vectors_ND, (0, missing))
    _, axes_DD = torch.linalg.eigh(vectors_ND.T @ vectors_ND)  # by ascending eigenvalue
    axes_DW = axes_DD[:, -width:].flip(1)  # `truncate_dim` keeps the first ones
    # An axis has no direction of its own, and all processes must choose the same.
    largest_W = axes_DW.abs().argmax(dim=0)
    signs_W = axes_DW.gather(0, largest_W[None]).sign()
    return vectors_ND @ (axes_DW * signs_W)
