"""A task whose paths are variables of the environment, from its run to what is made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from candelabra.run import finish
from helpers.command_line import SMALL, Run, called
from helpers.interrupted_runs import fail

TASK = """\
defaults:
  - base/classification@_here_
  - _self_
source:
  _target_: candelabra.data.sources.Files
  train: ${oc.env:PLACE}/rows.csv
  test: ${oc.env:TEST,null}
columns: {text: text, label: label}
"""
SECRET = "secret-place"


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / SECRET / "rows.csv"
    rows.parent.mkdir()
    rows.write_text("text,label\n" + "".join(f"film {i},{'np'[i % 2]}\n" for i in range(40)))
    monkeypatch.setenv("PLACE", str(rows.parent))
    monkeypatch.setenv("TEST", str(rows))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Of a training of this task alone, in the folder `run`."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "own.yaml").write_text(TASK)
    own = ["--config-dir", str(tmp_path / "conf"), "tasks=none", "+task@tasks.t=own"]
    return [*own, *SMALL, "callbacks=plain", f"hydra.run.dir={tmp_path / 'run'}"]


@pytest.fixture
def trained(words: list[str], tmp_path: Path) -> Run:
    return Run(tmp_path / "run", called("train", *words))


def assert_no_secret(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file


def test_the_variable_is_stored_and_resolved_when_it_is_used(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained.done.status == 0, trained.done.err
    assert_no_secret(trained.folder)
    source = json.loads((trained.bundle / "config.json").read_text())["tasks"]["t"]["source"]
    assert (source["train"], source["test"]) == ("${oc.env:PLACE}/rows.csv", "${oc.env:TEST,null}")
    bundle = f"bundle={trained.folder}"
    done = called("evaluate", bundle, "output=scores")
    assert done.status == 0, done.err
    assert_no_secret(Path("scores"))
    found = json.loads(Path("scores/metrics.json").read_text())
    assert found["test/t/accuracy"] == trained.json("metrics.json")["test/t/accuracy"]
    assert called("predict", bundle, "text=film 1").status == 0
    monkeypatch.delenv("PLACE")
    done = called("evaluate", bundle)
    assert (done.status, "tasks.t.source.train is ${oc.env:PLACE}/" in done.message) == (2, True)
    monkeypatch.setenv("PLACE", "elsewhere")
    monkeypatch.delenv("TEST")
    done = called("evaluate", bundle)
    assert (done.status, "no task has a test split" in done.err) == (2, True)


@pytest.mark.slow
def test_an_export_is_measured_where_the_variable_is_set(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", f"bundle={trained.folder}", "format=onnx", "quantize=true"]
    done = called(*words, "output=measured")
    assert (done.status, "t  accuracy  40" in done.out) == (0, True), done
    assert_no_secret(Path("measured"))
    monkeypatch.delenv("PLACE")
    done = called(*words, "output=unmeasured")
    assert done.status == 0
    assert "was not evaluated: tasks.t.source.train is ${oc.env:PLACE}/rows.csv" in done.out


def test_an_interrupted_run_goes_on_with_the_variables_typed_again(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(finish, "restore_best", fail)
        with pytest.raises(ArithmeticError):
            called("train", *words)
    assert_no_secret(tmp_path / "run")
    resume = ["train", f"resume={tmp_path / 'run'}"]
    done = called(*resume)
    assert done.status == 2
    assert "tasks.t.source.test reads the environment" in done.message
    again = [
        "tasks.t.source.train='${oc.env:PLACE}/rows.csv'",
        "tasks.t.source.test='${oc.env:TEST}'",
    ]
    shutil.move(tmp_path / SECRET, tmp_path / f"{SECRET}-2")
    monkeypatch.setenv("PLACE", str(tmp_path / f"{SECRET}-2"))
    monkeypatch.setenv("TEST", str(tmp_path / f"{SECRET}-2" / "rows.csv"))
    done = called(*resume, *again)
    assert done.status == 0, done.err
    assert_no_secret(tmp_path / "run")
    source = json.loads((tmp_path / "run/bundle/config.json").read_text())["tasks"]["t"]["source"]
    assert source["train"] == "${oc.env:PLACE}/rows.csv"
