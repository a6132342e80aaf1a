from __future__ import annotations

import pytest
import torch

from candelabra.losses.classification import binary_cross_entropy, cross_entropy, squared_error
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.pooling import mean
from candelabra.records import Encoded
from helpers.toys import sentences


def test_is_linear_over_the_pooled_text() -> None:
    encoded = Encoded(torch.randn(2, 5, 6), torch.ones(2, 5).long())
    head = RegressionHead(6).eval()
    numbers_B = head((encoded,), mean, None)
    torch.testing.assert_close(numbers_B, head.classifier[-1](encoded.hidden_BLD.mean(1))[:, 0])
    assert numbers_B.shape == (2,)


def test_answers_are_the_numbers() -> None:
    examples = sentences(["a", "b"], [0.5, -2.0])  # type: ignore[list-item]
    head, numbers_B = RegressionHead(6), torch.tensor([1.5, -0.25]).bfloat16()
    assert torch.equal(head.decode(numbers_B), numbers_B.float())
    assert head.describe(numbers_B, None, examples) == [{"number": 1.5}, {"number": -0.25}]
    assert head.describe_labels(examples) == [0.5, -2.0]


def test_numbers_are_not_rounded_in_half_precision() -> None:
    head = RegressionHead(6).eval()
    torch.nn.init.zeros_(head.classifier[-1].weight)
    torch.nn.init.constant_(head.classifier[-1].bias, 1983.0)
    encoded = Encoded(torch.randn(2, 5, 6), torch.ones(2, 5).long())
    with torch.autocast("cpu", torch.bfloat16):
        assert head((encoded,), mean, None).tolist() == [1983.0, 1983.0]


def test_only_a_loss_of_numbers_fits() -> None:
    RegressionHead(6).check(squared_error)
    for loss in (cross_entropy, binary_cross_entropy):
        with pytest.raises(ValueError, match="found"):
            RegressionHead(6).check(loss)


def test_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no labels; found \['a'\]"):
        RegressionHead(6, ["a"])
