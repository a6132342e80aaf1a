"""Two gloo processes against one: the same steps, gradients, metrics, predictions, resumes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from candelabra.training.module import MultiTaskModule
from helpers import two_ranks
from helpers.kinds import kinds_module
from helpers.toys import Splits, difference, toy_module, weights
from helpers.two_ranks import CASES, RESUMED_AT, kept, predicted, trained

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # frozen parts are


@pytest.fixture(scope="module")
def folder(toys: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, and the checkpoints of one."""
    folder = tmp_path_factory.mktemp("two_ranks")
    kept(toys, 1, folder / "one")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", two_ranks.__name__, str(folder)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "found.pt", weights_only=True)


def assert_close(found: dict[str, Tensor], module: MultiTaskModule) -> None:
    for name, tensor in weights(module).items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one(toys: Splits, found: dict[str, Any], case: str) -> None:
    """In SGD the weights tell of all gradients; one process never accumulates here."""
    module, metrics = trained(toys, 1, **{**CASES[case], "accumulate": 1})
    fresh = weights(kinds_module() if "kinds" in CASES[case] else toy_module())
    now = {name: tensor for name, tensor in weights(module).items() if name in fresh}
    assert max((tensor - fresh[name]).abs().max() for name, tensor in now.items()) > 1e-2
    assert_close(found[case]["weights"], module)
    # A rank has other texts beside each other, so the rounding differs.
    assert found[case]["metrics"] == pytest.approx(metrics, abs=3e-5)


def test_two_ranks_save_by_the_clock_of_the_first(folder: Path) -> None:
    """An epoch has four steps, before whose validation a checkpoint is written as well."""
    assert {file.stem for file in (folder / "by the clock").iterdir()} == {"4", "8", "10", "12"}


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_a_resume_with_more_or_fewer_processes_goes_on(
    toys: Splits, folder: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    whole = kept(toys, 1, tmp_path / "whole")
    assert_close(found["resumed"]["weights"], whole)
    for step in (RESUMED_AT, 4, 7):  # 4 ends an epoch
        resumed = kept(toys, 1, tmp_path / "again", folder / "two" / f"{step}.ckpt")
        assert resumed.steps_done == whole.steps_done == 8
        assert difference(whole, resumed) < 1e-6


def test_every_test_row_is_predicted_once_and_in_order(
    toys: Splits, folder: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    metrics = predicted(toys, 1, tmp_path)
    assert found["tested"]["metrics"] == pytest.approx(metrics)
    for task in toys:
        two, one = (path / f"{task}.jsonl" for path in (folder / "two predictions", tmp_path))
        assert two.read_bytes() == one.read_bytes()
        assert len(one.read_text().splitlines()) == len(toys[task]["test"])
