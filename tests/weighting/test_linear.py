"""Weights that are known before the step: by labels, by chance, by the fall of the losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchjd.scalarization as reference

from candelabra.weighting.base import Linear
from candelabra.weighting.dwa import Dwa
from candelabra.weighting.log_classes import LogClasses
from candelabra.weighting.random_weights import Random

TASKS = {"sentiment": 2, "movie": 25}


def observed(weighting: Dwa, losses: list[dict[str, float]], start: int = 0) -> None:
    for step, values in enumerate(losses, start):
        weighting.begin(step)
        weighting.observe({task: torch.tensor(value) for task, value in values.items()})


def test_log_classes_evens_out_the_losses_of_who_knows_nothing() -> None:
    weights = LogClasses(TASKS).weights()
    blind = [float(weights[task]) * math.log(labels) for task, labels in TASKS.items()]
    assert blind[0] == pytest.approx(blind[1])
    assert sum(map(float, weights.values())) == pytest.approx(2)


def test_one_label_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more labels of each task; 'score' has 1"):
        LogClasses({"score": 1, "movie": 25})


@pytest.mark.parametrize("scheme", [Linear, LogClasses, Random, Dwa])
def test_the_sum_is_linear_in_the_losses(scheme: Any) -> None:
    weighting = scheme(TASKS)
    weighting.begin(3)
    losses = {task: torch.tensor(2.0, requires_grad=True) for task in TASKS}
    total = weighting(losses)
    total.backward()
    for task, weight in weighting.weights().items():
        assert losses[task].grad == weight
    assert float(total.detach()) == pytest.approx(2 * sum(map(float, weighting.weights().values())))
    assert set(weighting.state_dict()) >= {"weights_K"}


def test_random_weights_come_from_seed_and_step_and_sum_to_k() -> None:
    one, other = Random(TASKS, seed=1), Random(TASKS, seed=1)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    seen = []
    for step in range(200):
        one.begin(step)
        seen.append(one.weights_K.clone())
    assert torch.equal(torch.random.get_rng_state(), before)
    other.begin(7)
    assert torch.equal(other.weights_K, seen[7])
    found = torch.stack(seen)
    torch.testing.assert_close(found.sum(dim=1), torch.full((200,), 2.0))
    assert (found.mean(dim=0) - 1).abs().max() < 0.1
    # The log-ratio of two softmax weights is z_1 - z_2 ~ N(0, 2).
    assert (found[:, 0] / found[:, 1]).log().std() == pytest.approx(2**0.5, rel=0.15)
    assert Random(TASKS, seed=2).begin(7) is None


def test_dwa_is_that_of_torchjd_with_a_window_as_its_epoch() -> None:
    losses = torch.rand(12, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    weighting, oracle = Dwa(TASKS, window=3), reference.DWA(temperature=2.0)
    for step, loss_K in enumerate(losses):
        total = weighting(dict(zip(TASKS, loss_K, strict=True)))
        torch.testing.assert_close(total, oracle(loss_K))
        observed(weighting, [dict(zip(TASKS, loss_K.tolist(), strict=True))], start=step)
        if step % 3 == 2:
            oracle.step()


def test_dwa_gives_more_to_the_loss_that_falls_slowly() -> None:
    weighting = Dwa(TASKS, window=1)
    observed(weighting, [{"sentiment": 1.0, "movie": 1.0}, {"sentiment": 0.2, "movie": 0.9}])
    weights = weighting.weights()
    assert weights["movie"] > 1 > weights["sentiment"]


def test_dwa_goes_on_after_a_resume() -> None:
    losses = [{"sentiment": 1 / (n + 1), "movie": 2.0} for n in range(11)]
    whole, first, second = (Dwa(TASKS, window=2) for _ in range(3))
    observed(whole, losses)
    observed(first, losses[:5])
    second.load_state_dict(first.state_dict())
    observed(second, losses[5:], start=5)
    assert torch.equal(whole.weights_K, second.weights_K)


def test_dwa_leaves_out_absent_tasks_and_what_is_no_number() -> None:
    weighting = Dwa(TASKS, window=2)
    rows = [{"sentiment": 4.0}, {"movie": 1.0}, {"sentiment": 2.0}, {"movie": float("nan")}]
    observed(weighting, [*rows, {"sentiment": 1.0}, {"sentiment": 1.0}])
    ratios_K = torch.tensor([0.5, 1.0])
    torch.testing.assert_close(weighting.weights_K, 2 * (ratios_K / 2).softmax(dim=0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "window must be 1 or more, got 0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
    ],
)
def test_a_wrong_window_or_temperature_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dwa(TASKS, **wrong)
