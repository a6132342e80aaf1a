"""Approximate nearest-neighbour search with faiss's HNSW graphs (Malkov & Yashunin 2018).

Shapes: Q queries, N corpus texts, D width of a vector, K hits.
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
"""Edges per text (HNSW's M). Each edge needs about 8 bytes. More edges improve recall."""
BUILD_EFFORT = 200
"""Number of candidates while inserting a text (HNSW's efConstruction)."""
SEARCH_EFFORT = 128
"""Minimum number of candidates while searching (HNSW's efSearch)."""


def check_installed() -> None:
    """Raise an error if faiss is not installed, without importing it.

    Raises:
        ConfigError: faiss is not installed.
    """
    if find_spec("faiss") is None:
        raise ConfigError(
            "approximate=true needs the extra 'index': pip install \"candelabra[index]\""
        )


def build_graph(vectors_ND: np.ndarray) -> IndexHNSWFlat:
    """Build an HNSW graph by inner product.

    Args:
        vectors_ND: Vectors of unit length. The graph stores a copy.
    """
    import faiss
    import numpy as np

    graph = faiss.IndexHNSWFlat(vectors_ND.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BUILD_EFFORT
    graph.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
    return graph


def nearest_approximately(
    queries_QD: np.ndarray, graph: IndexHNSWFlat, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows with the largest dot products with each query, and possibly miss some.

    Args:
        queries_QD: Vectors of the queries.
        graph: Graph over the corpus.
        top_k: Number of hits. It is limited to N.

    Returns:
        Rows (Q, K) and scores (Q, K), best first. Rows with equal scores are in ascending order.
        Missing hits have row -1.
    """
    import numpy as np

    top_k = min(top_k, graph.ntotal)
    graph.hnsw.efSearch = max(SEARCH_EFFORT, 2 * top_k)
    scores_QK, rows_QK = graph.search(queries_QD, top_k)
    order_QK = np.lexsort((rows_QK, -scores_QK), axis=-1)
    return np.take_along_axis(rows_QK, order_QK, -1), np.take_along_axis(scores_QK, order_QK, -1)


def write_graph(file: Path, graph: IndexHNSWFlat) -> None:
    """Write a graph atomically.

    The graph is serialized to memory, because faiss's own writer reports some write errors late or
    not at all.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    import faiss

    with replacing(file) as stream:
        stream.write(faiss.serialize_index(graph).data)


def read_graph(file: Path, *, shape: tuple[int, int]) -> IndexHNSWFlat:
    """Read a graph.

    Args:
        file: File written by `write_graph`.
        shape: Expected shape (N, D) of the vectors.

    Raises:
        DataError: The file is damaged, is not an HNSW graph by inner product, or has another shape.
    """
    import faiss

    try:
        graph = faiss.read_index(str(file))
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2]
        raise DataError(f"{file}: not a faiss graph, or truncated ({reason})") from error
    by_product = graph.metric_type == faiss.METRIC_INNER_PRODUCT
    if not isinstance(graph, faiss.IndexHNSWFlat) or not by_product:
        raise DataError(f"{file}: must be an HNSW graph by inner product")
    if (graph.ntotal, graph.d) != shape:
        raise DataError(f"{file}: must be of {shape} vectors, found {(graph.ntotal, graph.d)}")
    return graph
