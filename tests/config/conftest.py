"""Fixture of the tests of settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a temporary folder: Hydra makes a run folder before settings are checked."""
    monkeypatch.chdir(tmp_path)
