"""One small trained run, shared by the tests of all commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.bundle.bundle import Bundle, load
from helpers.command_line import Run, called


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Both sample tasks on a tiny encoder; a few steps, then all of validation and test."""
    root = tmp_path_factory.mktemp("trained")
    settings = [
        "encoder=tiny",
        "logger=csv",
        "callbacks=plain",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=10",
        "trainer.log_every_n_steps=5",
        "optimizer.lr=3e-3",
        "seed=3",
        f"paths.output_dir={root}",
        f"hydra.run.dir={root / 'run'}",
    ]
    done = called("train", *settings)
    assert done.status == 0, done.err
    return Run(root / "run", done)


@pytest.fixture(scope="session")
def bundle(run: Run) -> Bundle:
    return load(run.bundle)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)
