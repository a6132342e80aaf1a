from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.slow
def test_both_sides_answer_the_same(bench: Callable[..., Any]) -> None:
    found = bench("predict_speed.py", "--limit", "20", "--precision", "32-true")
    for result in found["results"].values():
        assert result["texts"] == 20
        assert result["furthest"] < 1e-4
        (ratio,) = result["ratios"]
        ours, theirs = (
            result["processor_seconds"][side][0] for side in ("candelabra", "two pipelines")
        )
        assert ratio == theirs / ours
