"""Vectors for metrics over embeddings, and a model for sentence-transformers that gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sentence_transformers.util import cos_sim
from torch import Tensor
from torchmetrics import Metric

Score = Callable[..., Metric]


def scores(
    make: Score, vectors_BKD: Tensor, labels_B: Tensor, *, size: int = 7
) -> dict[str, float]:
    """What a metric says of rows that come `size` at a time."""
    metric = make()
    for part, right in zip(vectors_BKD.split(size), labels_B.split(size), strict=True):
        metric.update(part, right)
    return {name: score.item() for name, score in metric.compute().items()}


def noisy(seed: int, *shape: int) -> Tensor:
    """Random vectors of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.rand(shape[:-1], generator=generator)[
        ..., None
    ].add(0.5)


def near(vectors: Tensor, seed: int, *, far: float = 1.0) -> Tensor:
    """Vectors beside the given ones."""
    return vectors + far * noisy(seed, *vectors.shape)


class GivenModel:
    """Stands in for a `SentenceTransformer`: each text has the vector that it is given."""

    similarity_fn_name = "cosine"

    def __init__(self, vectors: Mapping[str, Tensor]) -> None:
        self.vectors = dict(vectors)
        self.model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *_: None)

    def encode(
        self, texts: Sequence[str], *, convert_to_tensor: bool = False, **_: Any
    ) -> np.ndarray | Tensor:
        found = torch.stack([self.vectors[text] for text in texts])
        return found if convert_to_tensor else found.numpy()

    encode_query = encode_document = encode

    def similarity(self, left: Tensor, right: Tensor) -> Tensor:
        return cos_sim(left, right)


def texts_of(vectors_BKD: Tensor) -> tuple[list[list[str]], GivenModel]:
    """A text for each vector, K lists of B, equal where vectors are; and the model of them."""
    names: dict[bytes, str] = {}
    vectors = {}
    columns = []
    for column in vectors_BKD.unbind(1):
        texts = [names.setdefault(v.numpy().tobytes(), f"text {len(names)}") for v in column]
        vectors |= dict(zip(texts, column, strict=True))
        columns.append(texts)
    return columns, GivenModel(vectors)


METRICS: dict[str, int] = {
    "similarity.SimilarityMetrics": 2,
    "binary_pairs.BinaryPairMetrics": 2,
    "triplets.TripletMetrics": 3,
    "retrieval.RetrievalMetrics": 3,
    "neighbours.NeighbourMetrics": 1,
    "regression.RegressionMetrics": 0,
}
"""Each metric that keeps rows or counts texts, and how many texts a row has."""


def made(name: str) -> Metric:
    module, _, member = name.partition(".")
    __import__(f"candelabra.metrics.{module}")
    import candelabra.metrics as metrics

    return getattr(getattr(metrics, module), member)()


def rows_of(name: str) -> tuple[Tensor, Tensor]:
    """40 rows for a metric of `METRICS`; some do not count."""
    vectors = noisy(1, 40, max(METRICS[name], 1), 6)
    predictions = vectors if METRICS[name] else vectors[:, 0, 0]
    classes = "Binary" in name or "Neighbour" in name
    labels = torch.arange(40) % 2 if classes else noisy(2, 40, 1)[:, 0]
    labels[::9] = -100 if not labels.is_floating_point() else torch.nan
    return predictions, labels
