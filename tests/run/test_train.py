"""The one path from a configuration to a bundle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from candelabra.build.frozen_encoding import FrozenEncoding
from candelabra.training import optim
from helpers.command_line import python
from helpers.composing import SMALL, two_steps


def test_each_loss_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: Counter[str] = Counter()

    def counting(node: Any, *args: Any, **kwargs: Any) -> Any:
        built[str(node.get("_target_"))] += 1
        return instantiate(node, *args, **kwargs)

    monkeypatch.setattr("candelabra.build.instantiate.instantiate", counting)
    two_steps([*SMALL, "callbacks=plain"], tmp_path)
    assert built["candelabra.losses.cross_entropy"] == 2  # one for each task
    assert built["candelabra.training.optim.adamw"] == 1


def test_the_optimizer_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = optim.adamw

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(optim, "adamw", counting)
    two_steps([*SMALL, "callbacks=plain", "freeze=none"], tmp_path)
    assert len(calls) == 1


def test_a_second_run_encodes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precision is that of the machine, so that half of bfloat16 is tested where it exists."""
    words = ["encoder=tiny", "tasks=sample", "freeze=encoder", "logger=csv", "callbacks=plain"]
    words += ["trainer.max_epochs=1", "balancing.steps_per_epoch=2", "trainer.limit_test_batches=2"]
    cache = tmp_path / "cache"
    words += [f"paths.cache_dir={cache}"]
    metrics = two_steps(words, tmp_path / "one")
    kept = sorted(path.parent.name for path in cache.glob("features/*/about.json"))
    assert len(kept) == 2  # the validation of each task, since two steps do not read all of train
    monkeypatch.setattr(FrozenEncoding, "_computed", None)
    assert two_steps(words, tmp_path / "two") == metrics


def test_a_training_imports_no_library_before_it_is_used(tmp_path: Path) -> None:
    code = (
        "import sys, candelabra.run.start, candelabra.run.train, candelabra.metrics\n"
        "from candelabra.training import callbacks, loggers, optim\n"
        "print(*sorted({'optuna', 'pandas', 'sklearn', 'transformers.trainer', 'wandb'} "
        "& set(sys.modules)))"
    )
    assert python("-c", code, folder=tmp_path).out.split() == []
