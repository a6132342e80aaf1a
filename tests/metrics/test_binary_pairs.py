from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

from candelabra.metrics.binary_pairs import BinaryPairMetrics, best_of_thresholds
from helpers.given_vectors import near, noisy, scores, texts_of

ANCHORS = noisy(0, 60, 8)
ALIKE = torch.arange(60) % 3 == 0
OTHERS = torch.where(ALIKE[:, None], near(ANCHORS, 1), near(ANCHORS, 2, far=3))
PAIRS = torch.stack([ANCHORS, OTHERS], 1)


@pytest.mark.parametrize("tied", [False, True])
def test_equals_sentence_transformers(tied: bool) -> None:
    vectors = PAIRS.clone()
    if tied:  # pairs of both classes have the same cosine
        vectors[1::4] = vectors[::4]
    (left, right), model = texts_of(vectors)
    evaluator = BinaryClassificationEvaluator(
        left, right, ALIKE.int().tolist(), similarity_fn_names=["cosine"], write_csv=False
    )
    theirs = evaluator(model)
    expected = {
        "average_precision": theirs["cosine_ap"],
        "accuracy": theirs["cosine_accuracy"],
        "f1": theirs["cosine_f1"],
    }
    assert scores(BinaryPairMetrics, vectors, ALIKE.long()) == pytest.approx(expected, abs=1e-6)


def test_the_best_thresholds_are_no_worse_than_any() -> None:
    values = torch.randint(0, 8, (40,), generator=torch.Generator().manual_seed(0)).float()
    alike = torch.rand(40, generator=torch.Generator().manual_seed(1)) < values / 10
    accuracies, f1s = [], []
    for threshold in torch.arange(-0.5, 9):
        said = values > threshold
        right = (said & alike).sum()
        accuracies.append((said == alike).double().mean().item())
        f1s.append((2 * right / (said.sum() + alike.sum())).item())
    found = best_of_thresholds(values, alike)
    assert found["accuracy"].item() == pytest.approx(max(accuracies))
    assert found["f1"].item() == pytest.approx(max(f1s))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone(label: int) -> None:
    found = scores(BinaryPairMetrics, PAIRS, torch.full((60,), label))
    assert found == {"average_precision": label, "accuracy": 1, "f1": label}


def test_two_labels_or_none() -> None:
    BinaryPairMetrics(["apart", "alike"])
    with pytest.raises(ValueError, match="two labels; found"):
        BinaryPairMetrics(["entailment", "neutral", "contradiction"])
