from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two steps after one of warm-up; a step takes half a second."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("meter")
    times = iter([10.0, 11.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    return module.Meter(warmup=1, total=3)


def take(meter: Any, *lengths: list[int]) -> None:
    masks = [(torch.arange(max(part)) < torch.tensor(part)[:, None]).long() for part in lengths]
    meter.step_begins(masks)
    meter.step_ended()


def test_counts_what_comes_after_the_warm_up(meter: Any) -> None:
    take(meter, [9, 9])
    take(meter, [4, 2], [8])
    take(meter, [5, 1, 1])
    found = meter.result()
    assert (found["steps"], found["seconds"], found["examples"]) == (2, 1.0, 6)
    assert (found["tokens"], found["tokens_with_warmup"]) == (21, 39)
    assert found["steps_per_second"] == 2
    assert found["padding"] == pytest.approx(1 - 21 / (8 + 8 + 15))


def test_a_training_of_other_length_is_no_measurement(meter: Any) -> None:
    take(meter, [3])
    with pytest.raises(ValueError, match="must have 3 steps, it had 1"):
        meter.result()
