"""An installed wheel works without its checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from candelabra.config.targets import conf_dir
from helpers.project import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (found,) = folder.glob("candelabra-*.whl")
    return found


@pytest.mark.slow
def test_ships_every_yaml(wheel: Path) -> None:
    files = [file for file in conf_dir().rglob("*") if file.is_file()]
    expected = {f"candelabra/conf/{file.relative_to(conf_dir()).as_posix()}" for file in files}
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if name.startswith("candelabra/conf/")} == expected
    assert {"candelabra/py.typed", "candelabra/cli.py"} < names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "outputs"))]
    assert [name for name in names if name.endswith("sample/reviews_train.toml")]


@pytest.mark.slow
def test_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "here").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "candelabra", *arguments],
            cwd=tmp_path / "here",
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
            check=False,
        )

    wrong = run("train", "pooling=meen")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'mean'?" in wrong.stderr
    shown = run("train", "--info=searchpath")
    assert str(tmp_path / "installed" / "candelabra" / "conf") in shown.stdout + shown.stderr
    small = ["debug=fast", "logger=csv", "callbacks=plain", "hydra.run.dir=run"]
    trained = run("train", *small)
    assert trained.returncode == 0, trained.stderr
    answered = run("predict", "bundle=run", "text=what 1995 comedy starred michael douglas")
    assert answered.returncode == 0, answered.stderr
    assert '"movie"' in answered.stdout
