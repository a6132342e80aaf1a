from __future__ import annotations

import pytest
import torch
from torch import Tensor

from candelabra.weighting.base import Weighting
from candelabra.weighting.fixed import Fixed
from candelabra.weighting.uncertainty import Uncertainty

TASKS = ["sentiment", "movie"]
each_scheme = pytest.mark.parametrize("scheme", [Fixed, Uncertainty])


def test_is_the_plain_sum() -> None:
    losses = {"sentiment": torch.tensor(0.5, requires_grad=True), "movie": torch.tensor(2.0)}
    total = Fixed(TASKS)(losses)
    total.backward()
    assert total.item() == 2.5
    assert losses["sentiment"].grad == 1


def test_has_nothing_to_learn() -> None:
    fixed = Fixed(TASKS)
    assert fixed.lr is None
    assert not list(fixed.parameters())
    assert fixed.weights() == {"sentiment": torch.ones(()), "movie": torch.ones(())}


@each_scheme
def test_one_task_alone_is_its_loss_at_the_start(scheme: type[Weighting]) -> None:
    total = scheme(TASKS)({"movie": torch.tensor(3.0)})
    assert total.shape == ()
    assert total.item() == 3


@each_scheme
@pytest.mark.parametrize("losses", [{}, {"moive": torch.ones(())}])
def test_losses_of_unknown_tasks_or_none_are_refused(
    scheme: type[Weighting], losses: dict[str, Tensor]
) -> None:
    with pytest.raises(ValueError, match=r"tasks \['sentiment', 'movie'\], got"):
        scheme(TASKS)(losses)


@each_scheme
@pytest.mark.parametrize("tasks", [[], ["movie", "movie"]])
def test_tasks_are_different_names(scheme: type[Weighting], tasks: list[str]) -> None:
    with pytest.raises(ValueError, match="one or more different names"):
        scheme(tasks)
