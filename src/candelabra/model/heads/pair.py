"""Head for pairs of texts that are encoded separately."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from candelabra.data.rows.shapes import PAIR_WITH_LABEL
from candelabra.model.heads.base import Pooling
from candelabra.model.heads.classification import ClassificationHead
from candelabra.records import Encoded


class PairHead(ClassificationHead):
    """Head that predicts one label per pair with a linear layer over (u, v, |u - v|).

    u and v are the embeddings of the two texts. This is the softmax objective of Sentence-BERT
    (Reimers & Gurevych 2019), which serves to train the encoder.

    Args:
        width: Width of a token embedding.
        labels: Label names.
        dropout: Dropout probability on the input of the linear layer.
    """

    num_texts = 2
    alone = False
    shapes: tuple[tuple[str, ...], ...] = (PAIR_WITH_LABEL,)
    only_pools = True
    kind = "pair"

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float = 0.0) -> None:
        super().__init__(width, labels, dropout=dropout)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * width, len(labels)))

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None = None
    ) -> Tensor:
        """Compute logits_BC from the two pooled texts."""
        u_BD, v_BD = (pooling(text.hidden_BLD, text.mask_BL) for text in encoded)
        return self.classifier(torch.cat([u_BD, v_BD, (u_BD - v_BD).abs()], dim=-1))
