"""Each scheme against torchjd, where it runs without a solver, and against what defines it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
import torchjd.aggregation as reference
from torch import Tensor

from candelabra.errors import ConfigError
from candelabra.weighting import gram, gram_many
from helpers import weightings

SCHEMES = {name: getattr(gram, name) for name in weightings.SCHEMES}
each_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
several = pytest.mark.parametrize("num", [2, 3, 5])
OF_TORCHJD: dict[str, Callable[[], Any]] = {
    "pcgrad": reference.PCGradWeighting,
    "mgda": partial(reference.MGDAWeighting, epsilon=1e-7, max_iters=2000),
    "imtl_g": reference.IMTLGWeighting,
    "aligned": reference.AlignedMTLWeighting,
}


def gradients(num: int, seed: int, *, width: int = 7) -> Tensor:
    """Rows of very unequal length, at all angles."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num, width, dtype=torch.float64, generator=generator)
    rows[1:] -= rows[:1] * torch.randn((), dtype=torch.float64, generator=generator)
    return rows * torch.logspace(-1, 1, num, dtype=torch.float64)[:, None]


def gram_of(rows: Tensor) -> Tensor:
    return rows @ rows.T


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("name", OF_TORCHJD)
def test_closed_forms_agree_with_torchjd(name: str, seed: int) -> None:
    gram_KK = gram_of(gradients(2, seed))
    expected = OF_TORCHJD[name]()(gram_KK)
    torch.testing.assert_close(SCHEMES[name](gram_KK, 0), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["mgda", "imtl_g", "aligned"])
def test_more_tasks_agree_with_torchjd(name: str) -> None:
    gram_KK = gram_of(gradients(4, 0))
    expected = OF_TORCHJD[name]()(gram_KK)
    torch.testing.assert_close(SCHEMES[name](gram_KK, 0), expected, atol=1e-3, rtol=1e-3)


def test_pcgrad_of_more_tasks_is_the_projections_by_hand() -> None:
    rows = gradients(4, 3)
    weights_K = gram.pcgrad(gram_of(rows), 7, seed=5)
    with torch.random.fork_rng():
        torch.manual_seed(5 * 1_000_003 + 7)
        orders = [torch.randperm(4).tolist() for _ in rows]
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        projected = rows[i].clone()
        for j in order:
            if j != i and projected @ rows[j] < 0:
                projected -= (projected @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += projected
    torch.testing.assert_close(weights_K @ rows, total)


def test_the_order_of_pcgrad_comes_from_seed_and_step_alone() -> None:
    gram_KK = gram_of(gradients(5, 1, width=3))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = gram.pcgrad(gram_KK, 3, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(9)
    assert torch.equal(gram.pcgrad(gram_KK, 3, seed=2), first)
    assert any(not torch.equal(gram.pcgrad(gram_KK, step, seed=2), first) for step in range(9))


def projected(gram_KK: Tensor, task: int) -> Tensor:
    """The v of least v G v with v >= u, the task's part of the mean: all sets of moved weights.

    The right one has v >= u, G v >= 0, and products of 0 where v moved (KKT).
    """
    u_K = torch.zeros_like(gram_KK[0])
    u_K[task] = 1 / len(u_K)
    for moved in map(torch.tensor, product([False, True], repeat=len(u_K))):
        v_K = u_K.clone()
        if moved.any():
            rest_K = gram_KK[moved][:, ~moved] @ u_K[~moved]
            v_K[moved] = torch.linalg.solve(gram_KK[moved][:, moved], -rest_K)
        products_K = gram_KK @ v_K
        if (v_K >= u_K - 1e-9).all() and (products_K >= -1e-9 * gram_KK.trace()).all():
            return v_K
    raise AssertionError("a convex problem has a solution")


@several
@pytest.mark.parametrize("seed", range(5))
def test_upgrad_conflicts_with_nobody_and_is_the_nearest_such(num: int, seed: int) -> None:
    rows = gradients(num, seed)
    weights_K = gram.upgrad(gram_of(rows), 0)
    products_K = rows @ (weights_K @ rows)
    assert (products_K > -1e-6 * products_K.abs().max()).all()
    expected_K = sum(projected(gram_of(rows), task) for task in range(num))
    torch.testing.assert_close(weights_K, expected_K, rtol=1e-5, atol=1e-8)


def test_upgrad_of_two_equals_its_solver() -> None:
    for seed in range(10):
        gram_KK = gram_of(gradients(2, seed))
        torch.testing.assert_close(gram.upgrad(gram_KK, 0), gram_many.upgrad(gram_KK))


@several
@pytest.mark.parametrize("seed", range(5))
def test_nash_solves_its_equation(num: int, seed: int) -> None:
    gram_KK = gram_of(gradients(num, seed))
    weights_K = gram.nash(gram_KK, 0)
    assert (weights_K > 0).all()
    found_K = gram_KK @ weights_K * weights_K
    torch.testing.assert_close(found_K, torch.ones_like(found_K), rtol=1e-3, atol=1e-3)


def test_nash_and_imtl_g_of_two_point_the_same_way() -> None:
    gram_KK = gram_of(gradients(2, 4))
    one, other = gram.nash(gram_KK, 0), gram.imtl_g(gram_KK, 0)
    torch.testing.assert_close(one / one.sum(), other)


@pytest.mark.parametrize("radius", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_cagrad_minimises_over_the_simplex(num: int, seed: int, radius: float) -> None:
    """Against a grid of 100 or 40 parts a side."""
    rows = gradients(num, seed)
    mean = rows.mean(dim=0)
    parts = 100 if num == 2 else 40
    grid = [x for x in product(range(parts + 1), repeat=num) if sum(x) == parts]
    x_XK = torch.tensor(grid, dtype=torch.float64) / parts
    sums = x_XK @ rows

    def cost(vectors: Tensor) -> Tensor:
        return vectors @ mean + radius * mean.norm() * vectors.norm(dim=-1)

    weights_K = gram.cagrad(gram_of(rows), 0, radius=radius)
    extra_K = weights_K - 1 / num
    found = extra_K / extra_K.sum()
    assert (found > -1e-9).all()
    assert cost(found @ rows) <= cost(sums).min() + 1e-9 * cost(sums).abs().max()
    torch.testing.assert_close((extra_K @ rows).norm(), radius * mean.norm())


def test_cagrad_without_a_ball_is_the_mean() -> None:
    gram_KK = gram_of(gradients(2, 0))
    assert gram.cagrad(gram_KK, 0, radius=0.0).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"radius must be 0 or more, got -1"):
        gram.cagrad(gram_KK, 0, radius=-1)


@each_scheme
@pytest.mark.parametrize("factor", [1.0, -1.0, 3.0, -0.2, -1 + 1e-9])
@several
def test_parallel_and_opposite_gradients_have_finite_weights(
    scheme: Callable[..., Tensor], factor: float, num: int
) -> None:
    rows = gradients(num, 2)
    rows[1] = rows[0] * factor
    gram_KK = gram_of(rows.float()).double()  # with float32's rounding
    weights_K = scheme(gram_KK, 0)
    assert weights_K.isfinite().all()
    assert weights_K.shape == (num,)


@each_scheme
def test_two_tasks_need_no_torchjd(
    scheme: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    assert scheme(gram_of(gradients(2, 0)), 0).shape == (2,)


def test_a_missing_torchjd_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError, match=r"needs torchjd.*candelabra\[gradients\]"):
        gram.mgda(gram_of(gradients(3, 0)), 0)
