from __future__ import annotations

import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from candelabra.metrics import nearest as searching
from candelabra.metrics.neighbours import NeighbourMetrics
from helpers.given_vectors import near, noisy, scores

LABELS = torch.arange(60) % 5
VECTORS = near(noisy(0, 5, 8)[LABELS], 1, far=0.7)[:, None]


def brute(vectors_ND: Tensor, labels: list[int]) -> float:
    right = 0
    for i, label in enumerate(labels):
        cosines = {
            j: float(normalize(vectors_ND[i], dim=0) @ normalize(vectors_ND[j], dim=0))
            for j in range(len(labels))
            if j != i
        }
        right += labels[max(cosines, key=lambda j: cosines[j])] == label
    return right / len(labels)


@pytest.mark.parametrize("room", [1, 200, 1 << 24])
def test_equals_a_loop_and_sklearn(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SCORES_AT_A_TIME", room)
    found = scores(NeighbourMetrics, VECTORS, LABELS)["accuracy"]
    assert found == pytest.approx(brute(VECTORS[:, 0], LABELS.tolist()))
    nearest = KNeighborsClassifier(1, metric="cosine")
    folds = cross_val_score(nearest, VECTORS[:, 0].numpy(), LABELS.numpy(), cv=LeaveOneOut())
    assert found == pytest.approx(folds.mean())
    assert 0.4 < found < 1


def test_a_text_alone_has_no_neighbour() -> None:
    assert scores(NeighbourMetrics, VECTORS[:1], LABELS[:1]) == {"accuracy": 0}


def test_an_encoder_that_says_the_same_of_all_gains_nothing() -> None:
    assert scores(NeighbourMetrics, torch.ones_like(VECTORS), LABELS)["accuracy"] <= 0.2
