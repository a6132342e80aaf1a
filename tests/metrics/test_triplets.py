from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import TripletEvaluator

from candelabra.metrics.triplets import TripletMetrics
from helpers.given_vectors import near, noisy, scores, texts_of

ANCHORS = noisy(0, 50, 8)
TRIPLETS = torch.stack([ANCHORS, near(ANCHORS, 1), near(ANCHORS, 2, far=1.4)], 1)
ANY = torch.zeros(50)


def test_equals_sentence_transformers() -> None:
    columns, model = texts_of(TRIPLETS)
    measures = ["cosine", "dot", "euclidean", "manhattan"]
    theirs = TripletEvaluator(*columns, similarity_fn_names=measures, write_csv=False)(model)
    expected = {f"accuracy_{measure}": theirs[f"{measure}_accuracy"] for measure in measures}
    expected["accuracy"] = expected.pop("accuracy_cosine")
    found = scores(TripletMetrics, TRIPLETS, ANY)
    assert found == pytest.approx(expected)
    assert len(set(found.values())) > 2


def test_a_draw_is_not_right() -> None:
    found = scores(TripletMetrics, TRIPLETS[:, [0, 1, 1]], ANY)
    assert found == dict.fromkeys(found, 0)


def test_swapped_texts_turn_the_score_around() -> None:
    found, swapped = (
        scores(TripletMetrics, vectors, ANY) for vectors in (TRIPLETS, TRIPLETS[:, [0, 2, 1]])
    )
    assert {key: 1 - score for key, score in found.items()} == pytest.approx(swapped)
