"""Approximate search by a graph of neighbours: faiss's HNSW (Malkov & Yashunin 2018).

Shapes: Q queries, N texts of the corpus, D width of a vector, K hits.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from candelabra.errors import ConfigError, DataError
from candelabra.files import replacing

if TYPE_CHECKING:
    import numpy as np
    from faiss import IndexHNSWFlat

NEIGHBOURS = 32
"""Edges of a text; more of them find more and take more memory: some 8 bytes each."""
BUILD_EFFORT = 200
"""Candidates that are kept while a text finds its place."""
SEARCH_EFFORT = 128
"""Candidates that are kept while a query is answered, or twice the wanted hits."""


def check_installed() -> None:
    """Raises ConfigError where faiss is not installed; imports nothing."""
    if find_spec("faiss") is None:
        raise ConfigError(
            "approximate=true needs the extra 'index': pip install \"candelabra[index]\""
        )


def build_graph(vectors_ND: np.ndarray) -> IndexHNSWFlat:
    """A graph over vectors of unit length; it holds a copy of them."""
    import faiss
    import numpy as np

    graph = faiss.IndexHNSWFlat(vectors_ND.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BUILD_EFFORT
    graph.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
    return graph


def nearest_approximately(
    queries_QD: np.ndarray, graph: IndexHNSWFlat, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `search.nearest`, but a few of the rows may be missed.

    Returns:
        rows_QK and scores_QK, best first; -1 and -inf where the graph found no more.
    """
    top_k = min(top_k, graph.ntotal)
    graph.hnsw.efSearch = max(SEARCH_EFFORT, 2 * top_k)
    scores_QK, rows_QK = graph.search(queries_QD, top_k)
    return rows_QK, scores_QK


def write_graph(file: Path, graph: IndexHNSWFlat) -> None:
    """Writes a graph whole or not at all; raises OSError where there is no room.

    faiss is not asked to write the file: it tells of a failure late, and of a small one never.
    """
    import faiss

    with replacing(file) as stream:
        stream.write(faiss.serialize_index(graph).data)


def read_graph(file: Path, *, shape: tuple[int, int]) -> IndexHNSWFlat:
    """Reads a graph over (N, D) vectors.

    Raises:
        DataError: It is damaged, or of another kind or other vectors.
    """
    import faiss

    try:
        graph = faiss.read_index(str(file))
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2]
        raise DataError(f"{file}: no graph of faiss, or truncated ({reason})") from error
    by_product = graph.metric_type == faiss.METRIC_INNER_PRODUCT
    if not isinstance(graph, faiss.IndexHNSWFlat) or not by_product:
        raise DataError(f"{file}: must be an HNSW graph by inner product")
    if (graph.ntotal, graph.d) != shape:
        raise DataError(f"{file}: must be of {shape} vectors, found {(graph.ntotal, graph.d)}")
    return graph
