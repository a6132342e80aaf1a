from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.slow
def test_an_epoch_is_compared_with_one_without_features(bench: Callable[..., Any]) -> None:
    found = bench("frozen_encoder.py", "--limit", "12", "--epochs", "2", "--trials", "0")
    assert found["ratios"].keys() == {"float32", "half"}
    assert found["seconds"].keys() == {"without", "float32", "half"}
    assert all(len(turns) == 1 for turns in found["seconds"].values())
