"""A task whose paths are variables of the environment, through a run and its evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.command_line import SMALL, called

TASK = """\
defaults:
  - base/classification@_here_
  - _self_
source:
  _target_: candelabra.data.sources.Files
  train: ${oc.env:TRAIN}
  test: ${oc.env:TEST,null}
columns: {text: text, label: label}
"""


@pytest.fixture
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = tmp_path / "secret-place.csv"
    rows.write_text("text,label\n" + "".join(f"film {i},{'np'[i % 2]}\n" for i in range(40)))
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "own.yaml").write_text(TASK)
    monkeypatch.setenv("TRAIN", str(rows))
    monkeypatch.setenv("TEST", str(rows))
    return tmp_path / "conf"


def test_the_variable_is_stored_and_resolved_when_it_is_used(
    config_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--config-dir", str(config_dir), "tasks=none", "+task@tasks.t=own"]
    run = tmp_path / "run"
    done = called("train", *words, *SMALL, f"hydra.run.dir={run}")
    assert done.status == 0, done.err
    source = json.loads((run / "bundle" / "config.json").read_text())["tasks"]["t"]["source"]
    assert (source["train"], source["test"]) == ("${oc.env:TRAIN}", "${oc.env:TEST,null}")
    for file in (run / "bundle").rglob("*.json"):
        assert "secret-place" not in file.read_text()
    scores = json.loads((run / "metrics.json").read_text())
    target = tmp_path / "scores.json"
    done = called("evaluate", f"bundle={run}", f"output={target}")
    assert done.status == 0, done.err
    found = json.loads((target / "metrics.json").read_text())
    assert found["test/t/accuracy"] == scores["test/t/accuracy"]
    monkeypatch.delenv("TRAIN")
    done = called("evaluate", f"bundle={run}")
    assert (done.status, "tasks.t.source.train is ${oc.env:TRAIN}" in done.message) == (2, True)
    monkeypatch.setenv("TRAIN", "elsewhere.csv")
    monkeypatch.delenv("TEST")
    done = called("evaluate", f"bundle={run}")
    assert (done.status, "no task has a test split" in done.err) == (2, True)
