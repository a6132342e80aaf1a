"""A run that failed before its test, and what a stranger may do to its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from candelabra.run import finish
from helpers.bundles import edit
from helpers.command_line import Done, called
from helpers.stand_ins import write_data

OWN = "defaults: [adamw, _self_]\neps: 1e-7\n"


def interrupted_run(root: Path) -> Iterator[Path]:
    """The working folder of a run that was trained, and failed before it was tested."""
    write_data(root / "data")
    (root / "mine" / "optimizer").mkdir(parents=True)
    (root / "mine" / "optimizer" / "mine.yaml").write_text(OWN)
    words = ["encoder=tiny", "logger=csv", "callbacks=plain", "tasks=banking77", "data_dir=data"]
    words += ["optimizer=mine", "trainer.max_epochs=1", "--config-dir", "mine", "eval_batch_size=8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "restore_best", fail)
        patch.chdir(root)
        with pytest.raises(ArithmeticError):
            called("train", *words, "hydra.run.dir=run")
    shutil.copytree(root, root.with_name("kept"))
    yield root
    shutil.rmtree(root.with_name("kept"))


def fail(*_: object) -> None:
    raise ArithmeticError


def restored_run(interrupted: Path) -> Iterator[Path]:
    """Its run folder; whatever a test does to it is undone."""
    yield interrupted / "run"
    shutil.rmtree(interrupted)
    shutil.copytree(interrupted.with_name("kept"), interrupted)


def resumed(run: Path, *words: str) -> Done:
    """From elsewhere, so the folder of the first start is named."""
    return called("train", f"resume={run}", f"cwd={run.parent}", *words)


def refused(run: Path, *words: str) -> str:
    done = resumed(run, *words)
    assert (done.status, done.out) == (2, "")
    return done.message


def words_of(run: Path, *words: str) -> None:
    edit(run / "run.json", lambda record: record["overrides"].extend(words))
