"""The code of docs/python.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import pytorch_lightning as pl

import candelabra

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
SMALL = ["encoder=tiny", "logger=csv", "callbacks=plain", "callbacks.mixing=null"]
SMALL += ["trainer.limit_train_batches=2", "trainer.limit_val_batches=3"]


def test_the_options_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small encoder."""
    monkeypatch.chdir(tmp_path)
    compose = candelabra.compose
    monkeypatch.setattr(
        candelabra, "compose", lambda words: compose([*words, *SMALL]), raising=False
    )
    names: dict[str, object] = {}
    for block in BLOCKS[:2]:
        exec(compile(block, str(PAGE), "exec"), names)
    run = names["run"]
    assert isinstance(run, candelabra.TrainedRun)
    assert (run.folder / "bundle" / "config.json").is_file()


@pytest.mark.filterwarnings("ignore")
def test_the_classes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 30 lines, imports included, and better than by chance."""
    monkeypatch.chdir(tmp_path)
    lines = [line for line in BLOCKS[2].splitlines() if line.strip()]
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    names: dict[str, object] = {}
    exec(compile(BLOCKS[2], str(PAGE), "exec"), names)
    trainer = names["trainer"]
    assert isinstance(trainer, pl.Trainer)
    assert 0.3 < trainer.callback_metrics["val/score"] <= 1


def test_the_notebook_shows_the_same_script() -> None:
    notebook = nbformat.read(PAGE.parents[1] / "notebooks" / "quickstart.ipynb", as_version=4)
    assert BLOCKS[2].strip() in [cell.source for cell in notebook.cells]
