from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from candelabra.weighting.uncertainty import Uncertainty

LOSSES = {"sentiment": 0.2, "movie": 3.0}


def _losses(**values: float) -> dict[str, Tensor]:
    return {task: torch.tensor(value) for task, value in (values or LOSSES).items()}


def test_follows_its_closed_form() -> None:
    weighting = Uncertainty(list(LOSSES))
    s = {"sentiment": -0.7, "movie": 0.4}
    with torch.no_grad():
        for task, value in s.items():
            weighting.s[task].fill_(value)
    expected = sum(math.exp(-s[task]) * loss + s[task] / 2 for task, loss in LOSSES.items())
    assert weighting(_losses()).item() == pytest.approx(expected)
    for task, weight in weighting.weights().items():
        assert weight.item() == pytest.approx(math.exp(-s[task]))
        assert not weight.requires_grad


def test_starts_as_the_plain_sum() -> None:
    weighting = Uncertainty(list(LOSSES))
    assert weighting(_losses()).item() == pytest.approx(3.2)
    assert weighting.weights() == {task: torch.ones(()) for task in LOSSES}


def test_a_loss_gets_its_weight_as_gradient() -> None:
    weighting = Uncertainty(["movie"])
    with torch.no_grad():
        weighting.s["movie"].fill_(1.0)
    loss = torch.tensor(3.0, requires_grad=True)
    weighting({"movie": loss}).backward()
    assert loss.grad == pytest.approx(math.exp(-1))


def test_rests_at_one_over_twice_the_loss() -> None:
    weighting = Uncertainty(list(LOSSES))
    optimizer = torch.optim.AdamW(weighting.parameters(), lr=weighting.lr, weight_decay=0.0)
    for _ in range(1500):
        optimizer.zero_grad()
        weighting(_losses()).backward()
        optimizer.step()
    for task, loss in LOSSES.items():
        assert weighting.weights()[task].item() == pytest.approx(1 / (2 * loss), rel=1e-3)
        assert weighting.s[task].grad == pytest.approx(0, abs=1e-4)


def test_an_absent_task_does_not_move() -> None:
    """Neither by momentum from earlier steps: its gradient is None, not zero."""
    weighting = Uncertainty(list(LOSSES))
    optimizer = torch.optim.AdamW(weighting.parameters(), lr=weighting.lr, weight_decay=0.0)
    weighting(_losses()).backward()
    optimizer.step()
    before = weighting.weights()
    optimizer.zero_grad()
    weighting(_losses(movie=3.0)).backward()
    optimizer.step()
    after = weighting.weights()
    assert weighting.s["sentiment"].grad is None
    assert after["sentiment"] == before["sentiment"]
    assert after["movie"] != before["movie"]


def test_state_goes_by_task_not_by_order() -> None:
    first, second = Uncertainty(["sentiment", "movie"]), Uncertainty(["movie", "sentiment"])
    with torch.no_grad():
        first.s["movie"].fill_(2.0)
    second.load_state_dict(first.state_dict())
    assert second.weights() == first.weights()


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(lr: float) -> None:
    with pytest.raises(ValueError, match=r"lr must be positive, got"):
        Uncertainty(["movie"], lr=lr)
