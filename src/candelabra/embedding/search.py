"""The texts of a corpus that are nearest to a query.

Shapes: Q queries, N texts of the corpus, D width of a vector, K hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from candelabra.embedding.approximate import nearest_approximately

if TYPE_CHECKING:
    from faiss import IndexHNSWFlat


QUERIES = 256
"""Queries that are compared with the corpus together."""
ROWS = 65536
"""Rows of the corpus in a product: 64 MiB of scores, whatever the corpus holds."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> their vectors, as `Embedder.embed`."""
Rerank = Callable[[str, list[str]], list[float]]
"""A query and texts -> a score for each text, as a cross-encoder gives."""


@dataclass(frozen=True)
class Corpus:
    """Texts that are searched.

    Attributes:
        texts: N texts.
        vectors_ND: Their vectors, of the embedder that embeds the queries; None where the graph,
            which has a copy of them, is all that is searched.
        graph: For an approximate search.

    Raises:
        ValueError: There is neither.
    """

    texts: Sequence[str]
    vectors_ND: np.ndarray | None
    graph: IndexHNSWFlat | None = None

    def __post_init__(self) -> None:
        if self.vectors_ND is None and self.graph is None:
            raise ValueError("a corpus needs vectors or a graph, got neither")


@dataclass(frozen=True)
class Hit:
    """A text that was found.

    Attributes:
        row: Its place in the corpus, counted from 0.
        text: The text.
        score: Higher is nearer: the cosine where vectors have unit length, else the dot product;
            after re-ranking, what the re-ranker says.
        similarity: After re-ranking, the score by which it was found.
    """

    row: int
    text: str
    score: float
    similarity: float | None = None


def search(
    embed: Embed,
    queries: Sequence[str],
    corpus: Corpus,
    *,
    top_k: int = 5,
    rerank: Rerank | None = None,
    rerank_top_k: int = 50,
) -> Iterator[list[Hit]]:
    """The best `top_k` texts for each query, best first; all texts, where there are fewer.

    Args:
        embed: What embedded the corpus, as `Embedder.embed`; embeds the queries.
        queries: The queries.
        corpus: Searched by its graph where it has one, else exactly.
        top_k: How many texts.
        rerank: Scores the texts that were found anew, query by query.
        rerank_top_k: How many of the nearest texts `rerank` scores; at least `top_k`.

    Raises:
        ValueError: `top_k` is less than 1, or `rerank_top_k` less than `top_k`.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if rerank is not None and rerank_top_k < top_k:
        raise ValueError(f"rerank_top_k must be at least top_k ({top_k}), got {rerank_top_k}")
    wanted = top_k if rerank is None else rerank_top_k
    for begin in range(0, len(queries), QUERIES):
        part = queries[begin : begin + QUERIES]
        vectors_QD = embed(part)
        if corpus.graph is not None:
            found = nearest_approximately(vectors_QD, corpus.graph, wanted)
        else:
            assert corpus.vectors_ND is not None
            found = nearest(vectors_QD, corpus.vectors_ND, wanted)
        for query, rows, scores in zip(part, *found, strict=True):
            hits = [
                Hit(row, corpus.texts[row], score)
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                if row >= 0  # a graph may find fewer
            ]
            yield hits if rerank is None else reranked(query, hits, rerank)[:top_k]


def nearest(
    queries_QD: np.ndarray, vectors_ND: np.ndarray, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows with the largest dot products with each query, exactly.

    Args:
        queries_QD: The queries.
        vectors_ND: The corpus.
        top_k: How many rows.

    Returns:
        rows_QK and scores_QK, best first, equal scores by row; K is N where `top_k` is more.
    """
    vectors, queries = torch.from_numpy(vectors_ND), torch.from_numpy(queries_QD)
    best_QK = torch.empty(len(queries), 0)
    rows_QK = torch.empty(len(queries), 0, dtype=torch.long)
    for begin in range(0, len(vectors), ROWS):
        scores_QN = queries @ vectors[begin : begin + ROWS].T
        order_QK = _best(scores_QN, top_k)
        scores_QK = torch.cat([best_QK, scores_QN.gather(1, order_QK)], 1)
        found_QK = torch.cat([rows_QK, order_QK + begin], 1)
        order_QK = _best(scores_QK, top_k)
        best_QK, rows_QK = scores_QK.gather(1, order_QK), found_QK.gather(1, order_QK)
    return rows_QK.numpy(), best_QK.numpy()


def _best(scores_QN: Tensor, top_k: int) -> Tensor:
    """The columns of each row's largest scores, the largest first, equal ones from the left."""
    top_k = min(top_k, scores_QN.shape[1])
    columns_QK = scores_QN.topk(top_k, sorted=False).indices
    least_Q1 = scores_QN.gather(1, columns_QK).amin(1, keepdim=True)
    # Of scores that tie for the last place, topk takes any.
    tied_Q = (scores_QN >= least_Q1).sum(1) > top_k
    ordered = scores_QN[tied_Q].sort(descending=True, stable=True).indices
    columns_QK[tied_Q] = ordered[:, :top_k]
    columns_QK = columns_QK.sort().values
    order_QK = scores_QN.gather(1, columns_QK).sort(descending=True, stable=True).indices
    return columns_QK.gather(1, order_QK)


def reranked(query: str, hits: Sequence[Hit], rerank: Rerank) -> list[Hit]:
    """The hits by falling score of `rerank`.

    Raises:
        ValueError: It gives another number of scores.
    """
    if not hits:
        return []
    scores = rerank(query, [hit.text for hit in hits])
    if len(scores) != len(hits):
        raise ValueError(f"rerank must give {len(hits)} scores, got {len(scores)}")
    again = [
        Hit(hit.row, hit.text, float(score), hit.score)
        for hit, score in zip(hits, scores, strict=True)
    ]
    return sorted(again, key=lambda hit: -hit.score)
