"""A good bundle, and a copy of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers.bundles import made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    made("attention").save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    shutil.copytree(saved, tmp_path / "bundle")
    return tmp_path / "bundle"
