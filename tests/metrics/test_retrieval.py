from __future__ import annotations

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from torch import Tensor
from torch.nn.functional import cosine_similarity

from candelabra.metrics import nearest
from candelabra.metrics.retrieval import RetrievalMetrics
from helpers.given_vectors import near, noisy, scores, texts_of

ANCHORS = noisy(0, 40, 8)
DISTINCT = torch.stack([ANCHORS, near(ANCHORS, 1), near(ANCHORS, 2)], 1)
REPEATED = DISTINCT.clone()
REPEATED[[3, 9, 20], 0] = DISTINCT[[4, 4, 21], 0]  # an anchor with several positives
REPEATED[[5, 6, 30], 1] = DISTINCT[[7, 7, 31], 1]  # a positive of several anchors
REPEATED[[11, 12], 2] = DISTINCT[[13, 13], 1]  # a negative that is another row's positive
REPEATED[15] = DISTINCT[16]  # a row that is there twice
ROWS = {"distinct": DISTINCT, "pairs": DISTINCT[:, :2], "repeated": REPEATED}
ROWS["several negatives"] = torch.cat([REPEATED, near(REPEATED[:, :2], 3)], 1)
ANY = torch.zeros(40)


def theirs(vectors_NKD: Tensor) -> dict[str, float]:
    """By sentence-transformers; equal texts are one query, and one document."""
    (anchors, positives, *negatives), model = texts_of(vectors_NKD)
    right: dict[str, set[str]] = {}
    for anchor, positive in zip(anchors, positives, strict=True):
        right.setdefault(anchor, set()).add(positive)
    documents = {text: text for column in (positives, *negatives) for text in column}
    evaluator = InformationRetrievalEvaluator(
        {text: text for text in right},
        documents,
        right,
        precision_recall_at_k=[1, 5, 10],
        write_csv=False,
    )
    found = evaluator(model)
    keys = {"mrr": "mrr@10", "ndcg": "ndcg@10"}
    keys |= {f"recall_at_{k}": f"recall@{k}" for k in (1, 5, 10)}
    return {key: found[f"cosine_{name}"] for key, name in keys.items()}


def by_places(vectors_NKD: Tensor) -> dict[str, float]:
    """Of pairs without repeats, by the one right answer's place."""
    places = []
    for i, anchor in enumerate(vectors_NKD[:, 0]):
        cosines = cosine_similarity(anchor[None], vectors_NKD[:, 1])
        places.append(1 + int((cosines > cosines[i]).sum()))
    within = [place for place in places if place <= 10]
    return {
        "mrr": sum(1 / place for place in within) / len(places),
        "ndcg": sum(1 / math.log2(place + 1) for place in within) / len(places),
        **{f"recall_at_{k}": sum(p <= k for p in places) / len(places) for k in (1, 5, 10)},
    }


@pytest.mark.parametrize("room", [1, 300, 1 << 24])
@pytest.mark.parametrize("rows", ROWS)
def test_equals_sentence_transformers(
    rows: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SCORES_AT_A_TIME", room)
    found = scores(RetrievalMetrics, ROWS[rows], ANY)
    assert found == pytest.approx(theirs(ROWS[rows]))
    assert 0 < found["recall_at_1"] < found["recall_at_5"] < found["recall_at_10"] < 1


def test_equals_a_loop() -> None:
    assert scores(RetrievalMetrics, DISTINCT[:, :2], ANY) == pytest.approx(
        by_places(DISTINCT[:, :2])
    )


def test_equal_texts_are_equal_answers_also_after_rounding() -> None:
    rounded = REPEATED * (1 + 2e-7 * noisy(5, *REPEATED.shape).clamp(-1, 1))
    assert scores(RetrievalMetrics, rounded, ANY) == pytest.approx(theirs(REPEATED))


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_an_encoder_that_says_the_same_of_all_finds_by_chance(noise: float) -> None:
    """Its equal vectors are not taken for equal texts, all of them right."""
    collapsed = torch.ones_like(DISTINCT) + noise * noisy(6, *DISTINCT.shape)
    assert scores(RetrievalMetrics, collapsed, ANY)["recall_at_10"] < 0.4


def test_fewer_answers_than_are_looked_at() -> None:
    found = scores(RetrievalMetrics, DISTINCT[:2, :2], ANY[:2])
    assert (found["recall_at_5"], found["recall_at_10"]) == (1, 1)
