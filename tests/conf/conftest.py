"""Where a run of these tests reads and writes, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from helpers.stand_ins import write_data


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account, no network, and no W&B run left open."""
    for name, value in {"WANDB_MODE": "offline", "HOME": tmp_path, "NETRC": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    places = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
    for name in places:
        monkeypatch.setenv(name, "")  # so that what Lightning sets is taken back
        monkeypatch.delenv(name)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


@pytest.fixture
def settings(tmp_path: Path, data_dir: Path, cache_dir: Path) -> list[str]:
    """Where a run reads and writes."""
    folders = {"data_dir": data_dir, "paths.output_dir": tmp_path, "paths.cache_dir": cache_dir}
    return [f"{key}={folder}" for key, folder in folders.items()]
