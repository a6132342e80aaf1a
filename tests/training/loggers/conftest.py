"""A W&B tracker without network or login."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from candelabra.training.loggers.wandb_tracker import WandbTracker
from helpers.wandb_runs import Make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A W&B address where nobody answers, and no login."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def make(no_network: None, tmp_path: Path) -> Make:
    def make(id: str = "run-1", **kwargs: Any) -> WandbTracker:
        outputs = tmp_path / "outputs"
        given = {"save_dir": outputs, "run_dir": outputs / "quickstart" / id, "name": f"n-{id}"}
        return WandbTracker(**{**given, "id": id, **kwargs})

    return make
