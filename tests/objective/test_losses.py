from __future__ import annotations

import pytest
import torch
from torch import nn

from candelabra.objective.losses import cross_entropy
from candelabra.records import IGNORED


@pytest.mark.parametrize("shape", [(7,), (3, 4)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_is_the_sum_over_what_counts(shape: tuple[int, ...], label_smoothing: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(*shape, 5), torch.randint(5, shape)
    targets.view(-1)[::3] = IGNORED
    log_probs = logits.double().log_softmax(-1)
    expected = sum(  # one unit after the other, in float64
        -(1 - label_smoothing) * row[target] - label_smoothing * row.mean()
        for row, target in zip(log_probs.view(-1, 5), targets.flatten().tolist(), strict=True)
        if target != IGNORED
    )
    loss = cross_entropy(logits, targets, label_smoothing=label_smoothing)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_ignored_units_get_no_gradient(label_smoothing: float) -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    targets = torch.tensor([[0, IGNORED, 1], [IGNORED, IGNORED, 3]])
    cross_entropy(logits, targets, label_smoothing=label_smoothing).backward()
    assert logits.grad is not None
    assert not logits.grad[targets == IGNORED].any()
    assert logits.grad[targets != IGNORED].any(-1).all()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_rows", [0, 2])
def test_nothing_counted_is_zero_with_a_graph(label_smoothing: float, num_rows: int) -> None:
    head = nn.Linear(2, 3)
    targets = torch.full((num_rows, 4), IGNORED)
    loss = cross_entropy(head(torch.ones(num_rows, 4, 2)), targets, label_smoothing=label_smoothing)
    loss.backward()
    assert loss.item() == 0
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


def test_parts_add_up_to_the_whole() -> None:
    logits, targets = torch.randn(9, 3), torch.randint(3, (9,))
    parts = sum(cross_entropy(logits[i : i + 4], targets[i : i + 4]) for i in range(0, 9, 4))
    torch.testing.assert_close(parts, cross_entropy(logits, targets))


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.randn(5000, 3).bfloat16()
    loss = cross_entropy(logits, torch.zeros(5000, dtype=torch.long))
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, -logits.float().log_softmax(-1)[:, 0].sum())


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"found targets \(2,\) and logits \(3, 5\)"):
        cross_entropy(torch.zeros(3, 5), torch.zeros(2, dtype=torch.long))
