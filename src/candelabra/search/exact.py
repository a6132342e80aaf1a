"""Semantic search: the texts of a corpus that are nearest to a query.

Shapes: Q queries, N corpus texts, D width of a vector, K hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from candelabra.search.approximate import nearest_approximately

if TYPE_CHECKING:
    from faiss import IndexHNSWFlat


QUERIES = 256
"""Number of queries that are compared with the corpus at a time."""
ROWS = 65536
"""Number of corpus rows per matrix product, which limits the scores in memory to 64 MiB."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Function that returns the vectors (N, D) of N texts, as `Embedder.embed`."""
Rerank = Callable[[str, list[str]], list[float]]
"""Function that returns a score for each text, given a query and texts, as `CrossEncoder`."""


@dataclass(frozen=True)
class Corpus:
    """Texts to search, with their vectors, a graph of them, or both.

    Attributes:
        texts: N texts.
        vectors_ND: Vectors from the same embedder as the queries. `None` if only the graph, which
            contains a copy of them, is used.
        graph: Graph for approximate search, or `None` for exact search.

    Raises:
        ValueError: Both vectors and graph are missing.
    """

    texts: Sequence[str]
    vectors_ND: np.ndarray | None
    graph: IndexHNSWFlat | None = None

    def __post_init__(self) -> None:
        if self.vectors_ND is None and self.graph is None:
            raise ValueError("a corpus needs vectors or a graph, got neither")


@dataclass(frozen=True)
class Hit:
    """Search result.

    Attributes:
        row: Index of the text in the corpus, from 0.
        text: The text.
        score: Dot product of the vectors (the cosine for unit vectors), or, after re-ranking, the
            score of the re-ranker. Higher is better.
        similarity: After re-ranking, the dot product; otherwise `None`.
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
    """Find the best texts for each query.

    Args:
        embed: Function that computes vectors, the same as for the corpus.
        queries: The queries.
        corpus: Corpus to search, approximately if it has a graph, otherwise exactly.
        top_k: Number of texts per query.
        rerank: Optional function that scores the nearest texts again.
        rerank_top_k: Number of nearest texts that `rerank` scores, at least `top_k`.

    Yields:
        For each query, up to `top_k` hits, best first.

    Raises:
        ValueError: `top_k` is less than 1, or `rerank_top_k` less than `top_k`.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if rerank is not None and rerank_top_k < top_k:
        raise ValueError(f"rerank_top_k must be at least top_k ({top_k}), got {rerank_top_k}")
    num_hits = top_k if rerank is None else rerank_top_k
    for begin in range(0, len(queries), QUERIES):
        part = queries[begin : begin + QUERIES]
        vectors_QD = embed(part)
        if corpus.graph is not None:
            rows_and_scores = nearest_approximately(vectors_QD, corpus.graph, num_hits)
        else:
            assert corpus.vectors_ND is not None
            rows_and_scores = nearest(vectors_QD, corpus.vectors_ND, num_hits)
        for query, rows, scores in zip(part, *rows_and_scores, strict=True):
            hits = [
                Hit(row, corpus.texts[row], score)
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                if row >= 0  # An approximate search may return fewer hits.
            ]
            yield hits if rerank is None else sort_again(query, hits, rerank)[:top_k]


def nearest(
    queries_QD: np.ndarray, vectors_ND: np.ndarray, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows with the largest dot products with each query, exactly.

    Args:
        queries_QD: Vectors of the queries.
        vectors_ND: Vectors of the corpus.
        top_k: Number of rows per query.

    Returns:
        Rows (Q, K) and scores (Q, K), best first, where K is the smaller of `top_k` and N. Rows
        with equal scores are in ascending order.

    Example:
        >>> rows_QK, scores_QK = nearest(np.eye(2, dtype="f4")[:1], np.eye(2, dtype="f4"), 1)
        >>> rows_QK.tolist(), scores_QK.tolist()
        ([[0]], [[1.0]])
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
    """Return the columns of the largest scores in each row, in descending order of score.

    Of equal scores, the one with the smaller column comes first.
    """
    top_k = min(top_k, scores_QN.shape[1])
    columns_QK = scores_QN.topk(top_k, sorted=False).indices
    least_Q1 = scores_QN.gather(1, columns_QK).amin(1, keepdim=True)
    # `topk` chooses arbitrarily among scores that tie for the last place.
    tied_Q = (scores_QN >= least_Q1).sum(1) > top_k
    ordered = scores_QN[tied_Q].sort(descending=True, stable=True).indices
    columns_QK[tied_Q] = ordered[:, :top_k]
    columns_QK = columns_QK.sort().values
    order_QK = scores_QN.gather(1, columns_QK).sort(descending=True, stable=True).indices
    return columns_QK.gather(1, order_QK)


def sort_again(query: str, hits: Sequence[Hit], rerank: Rerank) -> list[Hit]:
    """Score hits with `rerank`, and sort them in descending order of this score.

    Raises:
        ValueError: `rerank` returns a wrong number of scores.
    """
    if not hits:
        return []
    scores = rerank(query, [hit.text for hit in hits])
    if len(scores) != len(hits):
        raise ValueError(f"rerank must return {len(hits)} scores, got {len(scores)}")
    rescored = [
        Hit(hit.row, hit.text, float(score), hit.score)
        for hit, score in zip(hits, scores, strict=True)
    ]
    return sorted(rescored, key=lambda hit: -hit.score)
