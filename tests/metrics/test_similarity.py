from __future__ import annotations

import pytest
import torch
from scipy import stats
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from torch.nn.functional import cosine_similarity

from candelabra.metrics.similarity import SimilarityMetrics
from helpers import real_data
from helpers.given_vectors import near, noisy, scores, texts_of

ANCHORS = noisy(0, 50, 8)
PAIRS = torch.stack([ANCHORS, near(ANCHORS, 1)], 1)
RIGHT = (cosine_similarity(*PAIRS.unbind(1)).clamp(0, 1) * 5).round() / 5


def test_equals_sentence_transformers() -> None:
    (left, right), model = texts_of(PAIRS)
    measures = ["cosine", "dot", "euclidean", "manhattan"]
    evaluator = EmbeddingSimilarityEvaluator(
        left, right, RIGHT.tolist(), similarity_fn_names=measures, write_csv=False
    )
    theirs = {key.removesuffix("_cosine"): score for key, score in evaluator(model).items()}
    expected = {key: score for key, score in theirs.items() if not key.endswith("_max")}
    assert scores(SimilarityMetrics, PAIRS, RIGHT) == pytest.approx(expected, abs=1e-6)


def test_the_headline_equals_scipy() -> None:
    cosines = cosine_similarity(*PAIRS.double().unbind(1))
    found = scores(SimilarityMetrics, PAIRS, RIGHT)
    assert found["spearman"] == pytest.approx(stats.spearmanr(cosines, RIGHT).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(cosines, RIGHT).statistic)


def test_of_vectors_of_unit_length_all_but_manhattan_agree() -> None:
    unit = torch.nn.functional.normalize(PAIRS, dim=2)
    found = scores(SimilarityMetrics, unit, RIGHT)
    assert found["spearman_dot"] == pytest.approx(found["spearman"], abs=1e-3)
    assert found["spearman_euclidean"] == pytest.approx(found["spearman"], abs=1e-3)
    assert found["pearson_euclidean"] != pytest.approx(found["pearson"], abs=1e-3)


def test_an_encoder_that_says_the_same_of_all_scores_nothing() -> None:
    found = scores(SimilarityMetrics, torch.ones_like(PAIRS), RIGHT)
    assert found == dict.fromkeys(found, 0)


@pytest.mark.slow
@real_data.needed
def test_the_published_scores_of_minilm() -> None:
    """MTEB, STSBenchmark: spearman .8203."""
    rows = real_data.columns("stsb/test")
    texts = [*rows["sentence1"], *rows["sentence2"]]
    vectors = torch.from_numpy(real_data.minilm().embed(texts)).view(2, -1, 384).transpose(0, 1)
    found = scores(SimilarityMetrics, vectors, torch.tensor(rows["score"]) / 5, size=64)
    assert found["spearman"] == pytest.approx(0.8203, abs=0.002)
    assert found["pearson"] == pytest.approx(0.8274, abs=0.002)
