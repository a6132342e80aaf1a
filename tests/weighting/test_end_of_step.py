"""Weightings of a whole step, against torchjd and against autograd by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torchjd.scalarization as reference
from torch import Tensor

from candelabra.weighting import gram
from candelabra.weighting.end_of_step import ALL, Adam, GradientWeighting, rescaled
from candelabra.weighting.famo import Famo
from candelabra.weighting.geometric import Geometric
from candelabra.weighting.gradnorm import GradNorm

TASKS = {"sentiment": 2, "movie": 25}
SCHEMES = [gram.pcgrad, gram.upgrad, gram.mgda, gram.imtl_g, gram.nash, gram.aligned, gram.cagrad]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.__name__)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gram_of(*rows: list[float]) -> dict[str, Tensor]:
    rows_KD = numbers(*rows[0]).new_tensor(rows)
    return {ALL: rows_KD @ rows_KD.T}


def test_geometric_has_the_gradient_of_torchjds_mean() -> None:
    losses_K = numbers(0.3, 2.0, 5.0).requires_grad_()
    reference.GeometricMean()(losses_K).backward()
    weights_K = Geometric(["a", "b", "c"]).settle(losses_K.detach(), {})
    torch.testing.assert_close(weights_K, losses_K.grad)


def test_geometric_of_a_loss_that_is_gone_is_finite() -> None:
    assert Geometric(TASKS).settle(numbers(0.0, 1.0), {}).isfinite().all()


def test_famo_is_that_of_torchjd_over_many_steps() -> None:
    famo, oracle = Famo(TASKS), reference.FAMO(2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        before_K, after_K = torch.rand(2, 2, generator=generator) + 0.1
        losses_K = before_K.clone().requires_grad_()
        oracle(losses_K).backward()
        weights_K = famo.settle(before_K.double(), {})
        torch.testing.assert_close(weights_K.float(), losses_K.grad, rtol=1e-4, atol=1e-5)
        assert float(weights_K.sum()) == pytest.approx(1)
        famo.look_again(after_K.double())
        oracle.update(after_K)
    assert famo.w_K.abs().max() > 0.05


def test_famo_goes_on_to_the_bit_from_its_state_alone() -> None:
    def steps(famo: Famo, losses: Tensor) -> None:
        for before_K, after_K in losses:
            famo.settle(before_K, {})
            famo.look_again(after_K)

    losses = torch.rand(9, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    whole, first, second = Famo(TASKS), Famo(TASKS), Famo(TASKS)
    steps(whole, losses)
    steps(first, losses[:4])
    second.load_state_dict(first.state_dict())
    steps(second, losses[4:])
    assert all(torch.equal(a, second.state_dict()[name]) for name, a in whole.state_dict().items())


def test_what_is_no_number_leaves_no_trace() -> None:
    for weighting in (Famo(TASKS), GradNorm(TASKS, first_steps=0), Geometric(TASKS)):
        before = {name: tensor.clone() for name, tensor in weighting.state_dict().items()}
        weights_K = weighting.settle(numbers(1.0, float("nan")), gram_of([1.0], [1.0]))
        weighting.look_again(numbers(1.0, 1.0))
        assert weights_K.tolist() == [1, 1]
        assert all(torch.equal(t, before[name]) for name, t in weighting.state_dict().items())


def test_adam_is_torchs() -> None:
    ours, theirs = torch.zeros(3), torch.nn.Parameter(torch.zeros(3))
    adam, oracle = Adam(3, lr=0.1, decay=0.01), torch.optim.Adam([theirs], 0.1, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        gradient_K = torch.randn(3, generator=generator)
        adam.step(ours, gradient_K)
        theirs.grad = gradient_K
        oracle.step()
    torch.testing.assert_close(ours, theirs.data)


def test_gradnorm_descends_on_its_objective() -> None:
    """The first step against autograd by hand: Adam's first step is the sign of the slope."""
    grams = {"layer_1": gram_of([9.0], [9.0])[ALL], "layer_2": gram_of([1.0], [4.0])[ALL]}
    grams |= {ALL: sum(grams.values())}
    weighting = GradNorm(TASKS, first_steps=2, lr_w=0.01, alpha=0.5)
    for step, losses_K in enumerate([numbers(1.0, 2.0), numbers(3.0, 2.0)]):
        weighting.begin(step)
        weighting.settle(losses_K, grams)
        assert weighting.w_K.tolist() == [1, 1]
    assert weighting.start_K.tolist() == [2, 2]
    weighting.begin(2)
    losses_K = numbers(1.0, 1.5)
    weighting.settle(losses_K, grams)
    w_K = torch.ones(2, dtype=torch.float64, requires_grad=True)
    lengths_K = w_K * numbers(1.0, 4.0)
    ratios_K = losses_K / 2
    target_K = (lengths_K.mean() * (ratios_K / ratios_K.mean()) ** 0.5).detach()
    (lengths_K - target_K).abs().sum().backward()
    assert w_K.grad is not None
    expected_K = 1 - 0.01 * w_K.grad.sign()
    torch.testing.assert_close(weighting.w_K.double(), 2 * expected_K / expected_K.sum())


def test_gradnorm_evens_out_the_lengths() -> None:
    weighting, grams = GradNorm(TASKS, first_steps=0, alpha=0.0), gram_of([1.0, 0.0], [0.0, 3.0])
    weighting.begin(5)
    for _ in range(200):
        weighting.settle(numbers(1.0, 1.0), grams)
    torch.testing.assert_close(weighting.w_K, torch.tensor([1.5, 0.5]), atol=0.05, rtol=0)
    assert weighting.start_K.tolist() == pytest.approx([0.6931, 3.2189], rel=1e-3)


@each_scheme
def test_the_length_of_the_plain_sum_is_kept(scheme: Any) -> None:
    rows_KD = numbers(1.0, 2.0, -0.3, -3.0, 1.0, 0.5).view(2, 3)
    weights_K = GradientWeighting(TASKS, scheme=scheme).settle(
        numbers(1.0, 1.0), {ALL: rows_KD @ rows_KD.T}
    )
    torch.testing.assert_close((weights_K @ rows_KD).norm(), rows_KD.sum(dim=0).norm())
    plain_K = GradientWeighting(TASKS, scheme=scheme, rescale=False).settle(
        numbers(1.0, 1.0), {ALL: rows_KD @ rows_KD.T}
    )
    torch.testing.assert_close(plain_K / plain_K.sum(), weights_K / weights_K.sum())


@each_scheme
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("second", [[0.0, 0.0], [1.0, 2.0], [-1.0, -2.0], [-2.0, -4.0]])
def test_zero_parallel_and_opposite_gradients_are_harmless(
    scheme: Any, rescale: bool, second: list[float]
) -> None:
    weighting = GradientWeighting(TASKS, scheme=scheme, rescale=rescale)
    weights_K = weighting.settle(numbers(1.0, 1.0), gram_of([1.0, 2.0], second))
    assert weights_K.isfinite().all()
    assert weights_K.abs().max() < 2000
    if not any(second):  # it takes no part, and the other gradient stays as it is
        assert weights_K.tolist() == [1, 1]
    assert weighting.weights()["movie"] == weights_K[1].float()


@each_scheme
def test_of_three_tasks_those_without_a_gradient_take_no_part(scheme: Any) -> None:
    rows = [[1.0, 2.0], [0.0, 0.0], [-1.0, 0.5]]
    three_K = GradientWeighting(["a", "b", "c"], scheme=scheme).settle(
        numbers(1.0, 1.0, 1.0), gram_of(*rows)
    )
    two_K = GradientWeighting(TASKS, scheme=scheme).settle(
        numbers(1.0, 1.0), gram_of(rows[0], rows[2])
    )
    torch.testing.assert_close(three_K[[0, 2]], two_K)


def test_a_vanishing_sum_is_not_blown_up() -> None:
    opposite_KK = gram_of([1.0], [-2.0])[ALL]
    assert rescaled(numbers(2.0, 1.0), opposite_KK).tolist() == [2, 1]
    assert rescaled(numbers(0.0, 0.5), opposite_KK).tolist() == [0, 0.5]


def test_the_authors_cut_of_nash() -> None:
    grams = gram_of([1.0, 2.0], [3.0, -1.0])
    cut_K = gram.nash(grams[ALL], 0, max_norm=1.0)
    assert float(cut_K @ grams[ALL] @ cut_K) == pytest.approx(1)
    assert float(gram.nash(grams[ALL], 0) @ grams[ALL] @ gram.nash(grams[ALL], 0)) == pytest.approx(
        2
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(Famo, lr_w=0.0), "lr_w must be positive, got 0.0"),
        (partial(GradNorm, lr_w=0.0), "lr_w must be positive, got 0.0"),
        (partial(GradNorm, alpha=-1.0), "alpha must be 0 or more, got -1.0"),
        (partial(GradNorm, first_steps=-1), "first_steps must be 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(TASKS)
    with pytest.raises(ValueError, match="needs two or more labels"):
        GradNorm({"score": 1, "movie": 25}, first_steps=0)
