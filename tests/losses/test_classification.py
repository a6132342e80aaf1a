from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.losses.classification import (
    binary_cross_entropy,
    class_balanced,
    cross_entropy,
    focal,
    logit_adjustment,
    squared_error,
)
from candelabra.records import IGNORED

COUNTS = [900, 50, 0, 3]
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "smoothed": partial(cross_entropy, label_smoothing=0.1),
    "focal": focal,
    "focal with alpha": partial(focal, gamma=0.5, alpha=[0.1, 1.0, 2.0, 3.0]),
    "class-balanced": partial(class_balanced, counts=COUNTS),
    "logit adjustment": partial(logit_adjustment, counts=COUNTS),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def units(*shape: int) -> tuple[Tensor, Tensor]:
    """Logits of four classes, and targets of which some do not count."""
    torch.manual_seed(0)
    targets = torch.tensor([0, 1, 3]).repeat(math.prod(shape))[: math.prod(shape)].view(shape)
    targets.view(-1)[::4] = IGNORED
    return torch.randn(*shape, 4) * 3, targets


def by_hand(loss: Callable[[list[float], int], float], logits: Tensor, targets: Tensor) -> float:
    """One unit after the other, in Python's own numbers."""
    rows = zip(logits.view(-1, 4).tolist(), targets.flatten().tolist(), strict=True)
    return math.fsum(loss(row, target) for row, target in rows if target != IGNORED)


def probability(row: list[float], target: int) -> float:
    return math.exp(row[target]) / math.fsum(map(math.exp, row))


@pytest.mark.parametrize("shape", [(9,), (3, 4)])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, [0.2, 1.0, 5.0, 3.0]])
def test_focal_is_its_formula(
    shape: tuple[int, ...], gamma: float, alpha: list[float] | None
) -> None:
    def one(row: list[float], target: int) -> float:
        p = probability(row, target)
        return -(1.0 if alpha is None else alpha[target]) * (1 - p) ** gamma * math.log(p)

    logits, targets = units(*shape)
    loss = focal(logits, targets, gamma=gamma, alpha=alpha)
    assert loss.item() == pytest.approx(by_hand(one, logits, targets), rel=1e-4)


def test_focal_of_two_classes_is_the_binary_one() -> None:
    """Lin's form: of one logit x, with alpha for class 1 and 1 - alpha for class 0."""
    x, y = torch.linspace(-4, 4, 9), torch.arange(9) % 2
    p = x.sigmoid()
    p_right = torch.where(y == 1, p, 1 - p)
    alpha = torch.where(y == 1, 0.25, 0.75)
    expected = (-alpha * (1 - p_right) ** 2 * p_right.log()).sum()
    found = focal(torch.stack([torch.zeros(9), x], 1), y, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(found, expected)


def test_focal_at_gamma_0_is_cross_entropy() -> None:
    torch.testing.assert_close(focal(*units(9), gamma=0.0), cross_entropy(*units(9)))


def test_class_balanced_is_weighted_cross_entropy() -> None:
    raw = [(1 - 0.9) / (1 - 0.9**n) for n in COUNTS if n]
    mean = sum(raw) / len(raw)
    weight = torch.tensor([raw[0] / mean, raw[1] / mean, 1.0, raw[2] / mean])
    assert weight[[0, 1, 3]].mean() == pytest.approx(1)
    logits, targets = units(9)
    expected = F.cross_entropy(logits, targets, weight=weight, reduction="sum")
    found = class_balanced(logits, targets, counts=COUNTS, beta=0.9)
    torch.testing.assert_close(found, expected)


def test_class_balanced_goes_from_all_alike_to_the_inverse_of_the_size() -> None:
    logits, targets = units(9)
    alike = class_balanced(logits, targets, counts=COUNTS, beta=0.0)
    torch.testing.assert_close(alike, cross_entropy(logits, targets))
    inverse = torch.tensor([1 / 900, 1 / 50, 0.0, 1 / 3])
    expected = F.cross_entropy(logits, targets, weight=inverse * 3 / inverse.sum(), reduction="sum")
    found = class_balanced(logits, targets, counts=COUNTS, beta=1 - 1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_logit_adjustment_is_its_formula(tau: float) -> None:
    prior = [n / 954 for n in (900, 50, 1, 3)]

    def one(row: list[float], target: int) -> float:
        adjusted = [x + tau * math.log(p) for x, p in zip(row, prior, strict=True)]
        return -math.log(probability(adjusted, target))

    logits, targets = units(3, 4)
    found = logit_adjustment(logits, targets, counts=COUNTS, tau=tau)
    assert found.item() == pytest.approx(by_hand(one, logits, targets), rel=1e-5)


def test_logit_adjustment_leaves_balanced_logits() -> None:
    """Where the input tells nothing, the plain logits of the optimum favour no class."""
    logits = torch.zeros(3, requires_grad=True)
    targets = torch.tensor([0] * 6 + [1] * 3 + [2])
    step = torch.optim.LBFGS([logits], max_iter=50)

    def closure() -> Tensor:
        step.zero_grad()
        loss = logit_adjustment(logits.expand(10, 3), targets, counts=[6, 3, 1])
        loss.backward()
        return loss

    step.step(closure)
    torch.testing.assert_close(logits.detach(), logits.detach().mean().expand(3), atol=1e-4, rtol=0)


@every_loss
def test_what_does_not_count_has_no_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, targets = units(3, 4)
    logits.requires_grad_()
    loss(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[targets == IGNORED].any()
    assert logits.grad[targets != IGNORED].any(-1).all()


@every_loss
def test_certain_logits_have_finite_gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = torch.tensor([[200.0, 0, 0, 0], [0, 200.0, 0, 0]], requires_grad=True)
    value = loss(logits, torch.tensor([0, 0]))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_loss
def test_nothing_counted_costs_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    value = loss(logits, torch.full((3,), IGNORED))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@every_loss
def test_every_loss_is_a_sum_in_float32(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, targets = units(12)
    whole = loss(logits, targets)
    parts = loss(logits[:5], targets[:5]) + loss(logits[5:], targets[5:])
    torch.testing.assert_close(parts, whole)
    half = loss(logits.bfloat16(), targets)
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, loss(logits.bfloat16().float(), targets))


@every_loss
def test_wrong_shapes_and_types_are_named(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"found targets \(2,\) and logits \(3, 4\)"):
        loss(torch.zeros(3, 4), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"must be class ids; found numbers of torch.float32"):
        loss(torch.zeros(3, 4), torch.zeros(3))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (partial(focal, gamma=-1), "gamma .* at least 0; found -1"),
        (partial(focal, alpha=0.25), "factor for each of the 4 classes; found 0.25"),
        (partial(focal, alpha=[1.0]), r"factor for each of the 4 classes; found \[1.0\]"),
        (partial(class_balanced, counts=COUNTS, beta=1.0), "below 1; found 1.0"),
        (partial(class_balanced, counts=[1, 2]), "each of the 4 classes; found 2"),
        (partial(logit_adjustment, counts=[1, 2]), "each of the 4 classes; found 2"),
    ],
)
def test_wrong_settings_are_named(loss: Callable[[Tensor, Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(*units(9))


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


def test_several_labels_are_each_a_binary_cross_entropy() -> None:
    logits_BC = torch.randn(3, 4)
    targets_BC = torch.tensor([[1, 0, 1, 1], [0, IGNORED, 0, 1], [IGNORED] * 4])
    expected = math.fsum(
        math.log1p(math.exp(-x if holds else x))
        for x, holds in zip(
            logits_BC.flatten().tolist(), targets_BC.flatten().tolist(), strict=True
        )
        if holds != IGNORED
    )
    found = binary_cross_entropy(logits_BC, targets_BC)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_squared_error_is_the_sum_of_squares() -> None:
    logits_B, targets_B = torch.tensor([1.0, 2, 3]), torch.tensor([0.0, math.nan, -100])
    assert squared_error(logits_B, targets_B).item() == pytest.approx(1 + 103**2)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (binary_cross_entropy, torch.tensor([[1, IGNORED], [IGNORED, IGNORED]])),
        (squared_error, torch.tensor([1.0, math.nan])),
    ],
)
def test_unknown_labels_and_numbers_have_no_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], targets: Tensor
) -> None:
    logits = torch.full(targets.shape, 0.3).bfloat16().requires_grad_()
    value = loss(logits, targets)
    value.backward()
    assert value.dtype is torch.float32
    assert logits.grad is not None
    assert logits.grad.ne(0).equal(targets == 1)
    nothing = torch.full_like(targets, math.nan if targets.is_floating_point() else IGNORED)
    value = loss(logits, nothing)
    value.backward()
    assert value.item() == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [binary_cross_entropy, squared_error])
def test_class_ids_are_no_label_sets_and_no_numbers(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises(ValueError, match=r"found targets \(2,\).* logits \(2, 3\)"):
        loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="found targets"):
        squared_error(torch.zeros(2), torch.zeros(2, dtype=torch.long))
