from __future__ import annotations

import pytest
import torch

from candelabra.losses.classification import binary_cross_entropy, cross_entropy, squared_error
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.pooling import mean
from candelabra.records import IGNORED, Encoded
from helpers.toys import sentences

LABELS = ["fear", "joy", "love"]
LOGITS_BC = torch.tensor([[2.0, -1.0, 0.4], [-3.0, -0.1, 0.0]])


def head(**kwargs: float) -> MultiLabelHead:
    return MultiLabelHead(6, LABELS, **kwargs).eval()


def test_is_linear_over_the_pooled_text() -> None:
    encoded = Encoded(torch.randn(2, 5, 6), torch.ones(2, 5).long())
    made = head()
    logits_BC = made((encoded,), mean, None)
    linear = made.classifier[-1]
    torch.testing.assert_close(logits_BC, linear(encoded.hidden_BLD.mean(1)))
    assert logits_BC.shape == (2, 3)


def test_labels_hold_above_the_threshold() -> None:
    assert head().decode(LOGITS_BC).tolist() == [[1, 0, 1], [0, 0, 0]]
    assert head(threshold=0.2).decode(LOGITS_BC).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_answers_name_what_holds_and_give_all_probabilities() -> None:
    one, other = head().describe(LOGITS_BC, None, sentences(["a", "b"], [0, 0]))
    assert (one["labels"], other["labels"]) == (["fear", "love"], [])
    assert one["probabilities"] == pytest.approx(
        dict(zip(LABELS, LOGITS_BC[0].sigmoid().tolist(), strict=True))
    )


def test_own_labels_are_names_of_what_is_known_to_hold() -> None:
    examples = sentences(["a", "b"], [[0, 1, 1], [IGNORED, 0, 1]])  # type: ignore[list-item]
    assert head().describe_labels(examples) == [["joy", "love"], ["love"]]


def test_only_a_loss_of_each_label_fits() -> None:
    head().check(binary_cross_entropy)
    for loss in (cross_entropy, squared_error):
        with pytest.raises(ValueError, match=r"found targets \(1, 3\)"):
            head().check(loss)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_that_decides_all_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"between 0 and 1; found {threshold}"):
        head(threshold=threshold)
