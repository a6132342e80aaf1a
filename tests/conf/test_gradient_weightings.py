"""Weightings of gradients, from the configuration on."""

from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.errors import ConfigError
from helpers.composing import SMALL, two_steps


@pytest.mark.parametrize("name", ["cagrad", "pcgrad"])
def test_gradients_of_three_tasks_are_weighed(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    """By a solver of ours and by torchjd."""
    third = ["+task@tasks.third=sample_reviews", f"weighting={name}"]
    limits = ["trainer.limit_val_batches=3", "trainer.limit_test_batches=3"]
    metrics = two_steps([*SMALL, *settings, *third, *limits], tmp_path)
    assert 0 <= metrics["val/score"] <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["step=alternate"], "every task in every step"),
        (["freeze=encoder"], "shared parameters that learn"),
        (["~tasks.movie"], "two or more tasks"),
    ],
)
def test_a_weighting_of_gradients_is_refused_before_training(
    overrides: list[str], message: str, settings: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        two_steps([*SMALL, *settings, "weighting=pcgrad", *overrides], tmp_path)
