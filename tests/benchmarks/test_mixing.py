from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SMALL = ["--steps", "4", "--warmup", "1", "--batch-size", "8", "--max-length", "32"]
SIDES = [
    "joint",
    "alternate",
    "st_proportional",
    "st_round_robin",
    "trainer_random",
    "trainer_grouped",
]


@pytest.mark.parametrize(
    "sides",
    [
        pytest.param(["joint", "trainer_random"], marks=pytest.mark.slow),
        pytest.param(SIDES, marks=pytest.mark.slow),
    ],
    ids=["two", "all"],
)
def test_the_sides_train_on_the_same_tokens(bench: Callable[..., Any], sides: list[str]) -> None:
    chosen = [option for side in sides for option in ("--side", side)]
    result = bench("mixing.py", *SMALL, *chosen)
    (turn,) = result["turns"]
    assert list(result["summary"]) == sides
    # The epoch's tokens are equal, though each side draws them in an order of its own.
    for key, value in {"steps": 3, "examples": 24}.items():
        assert {found[key] for found in turn.values()} == {value}
    for key in ("tokens_with_warmup", "threads"):
        assert len({found[key] for found in turn.values()}) == 1
    assert result["summary"]["joint"]["ratio"] == 1
    assert all(0 <= found["padding"] < 1 for found in turn.values())
