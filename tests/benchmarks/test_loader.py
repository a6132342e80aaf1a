from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

OURS = ["joint", "alternate", "joint_budget"]
PEERS = ["st_proportional", "st_round_robin", "trainer_random", "trainer_grouped"]
BUDGET = 30


@pytest.mark.slow
def test_every_loader_is_measured(bench: Callable[..., Any]) -> None:
    options = ["--rows", "80", "--batch-size", "8", "--max-tokens", str(BUDGET)]
    result = bench("loader.py", *options, "--workers", "0", "1")
    found = result["summary"]
    assert list(found) == [*OURS, *PEERS]
    assert result["num_rows"] == {"imdb": 80, "mit_movie_trivia": 80}
    for side in found.values():
        assert list(side["speed"]) == ["0", "1"]
        assert all(value > 0 for speed in side["speed"].values() for value in speed.values())
    (turn,) = [turn for turn in result["turns"] if turn["workers"] == 0]
    steps = {side: 1 + turn[side]["steps"] for side in found}
    budget = steps.pop("joint_budget")
    assert set(steps.values()) == {20}
    assert budget > 20
    # Neighbours in length against rows at random.
    assert max(found[side]["padding"] for side in OURS) < found["st_proportional"]["padding"]
    assert found["trainer_grouped"]["padding"] < found["trainer_random"]["padding"]
    assert found["joint_budget"]["largest"] <= found["joint"]["largest"]
