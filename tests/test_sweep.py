from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from candelabra import sweep
from command_line import Done, called, started

NAME = "my sw\u00ebep, 1"
"""A folder's name that Hydra's grammar takes in quotes only."""

SMALL = [
    "encoder=tiny",
    "logger=csv",
    "callbacks=plain",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "freeze=lower_layers",
]


def swept(folder: Path, *overrides: str) -> Done:
    where = f'hydra.sweep.dir="{folder / NAME}"'
    return started("train", "-m", *SMALL, where, *overrides, folder=folder)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swept")


@pytest.fixture(scope="module")
def first(root: Path) -> Done:
    """Two trials, of which the first asks for layers that the encoder lacks."""
    return swept(root, "freeze.num_layers=99,1")


@pytest.fixture(scope="module")
def folder(root: Path, first: Done) -> Path:
    return root / NAME


def test_failed_trial_neither_stops_nor_hides(first: Done, folder: Path) -> None:
    assert first.status == 1
    assert "Traceback" not in first.err
    good, bad = rows(folder / "sweep.csv")
    assert [good["status"], bad["status"]] == ["finished", "failed"]
    assert (good["folder"], bad["folder"]) == (str(folder / "1"), str(folder / "0"))
    assert 0 <= float(good["val/score"]) <= 1
    assert (bad["val/score"], bad["test/score"]) == ("", "")
    assert "freeze.num_layers=99" in bad["overrides"]
    assert "must lie between 0 and 2" in bad["error"]
    assert good["error"] == ""


def test_table_stands_at_the_end(first: Done, folder: Path) -> None:
    table = first.out[first.out.rindex("sweep ") :]
    good, bad = table.index("finished"), table.index("failed")
    assert good < bad
    assert "found 99" in table
    metrics = json.loads((folder / "1" / "metrics.json").read_text())
    assert f"{metrics['val/score']:.4f}" in table


def test_every_trial_has_its_run_folder(folder: Path) -> None:
    records = [json.loads((folder / name / "run.json").read_text()) for name in ("0", "1")]
    assert [record["status"] for record in records] == ["failed", "finished"]
    assert "must lie between 0 and 2" in records[0]["error"]
    assert records[0]["run_id"] != records[1]["run_id"]
    assert (folder / "1" / "bundle" / "config.json").is_file()
    assert f"group: {NAME}" in (folder / "1" / "config.yaml").read_text()


def test_second_start_skips_what_is_finished(root: Path, folder: Path) -> None:
    before = (folder / "1" / "run.json").read_bytes()
    failed = (folder / "0" / "run.json").stat().st_mtime_ns
    done = swept(root, "freeze.num_layers=99,1")
    assert done.status == 1
    assert (folder / "1" / "run.json").read_bytes() == before
    assert (folder / "0" / "run.json").stat().st_mtime_ns > failed
    assert [row["status"] for row in rows(folder / "sweep.csv")] == ["finished", "failed"]


class Trials:
    """Stands in for the trials' processes: each writes what a run would."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.commands: list[list[str]] = []

    def run(self, command: list[str], *, check: bool) -> Any:
        self.commands.append(command)
        settings = dict(word.split("=", 1) for word in command if "=" in word)
        folder = Path(json.loads(settings["hydra.run.dir"]))
        status, score = self.results[settings["seed"]]
        record = {"status": status, "overrides": command[4 : command.index(_run_dir(command))]}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "metrics.json").write_text(json.dumps({"val/score": score}))
        return type("Completed", (), {"returncode": int(status != "finished")})


def _run_dir(command: list[str]) -> str:
    (found,) = (word for word in command if word.startswith("hydra.run.dir="))
    return found


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.chdir(tmp_path)
    faked = Trials({"1": ("finished", 0.2), "2": ("finished", 0.7), "3": ("running", 0.9)})
    monkeypatch.setattr(sweep.subprocess, "run", faked.run)
    return faked


def test_table_is_sorted_by_score(trials: Trials, tmp_path: Path) -> None:
    done = called("train", "-m", "seed=1,3,2", "hydra.sweep.dir=s")
    assert done.status == 1
    table = rows(tmp_path / "s" / "sweep.csv")
    assert [row["overrides"] for row in table] == ["seed=2", "seed=1", "seed=3"]
    assert [row["val/score"] for row in table] == ["0.7", "0.2", ""]
    assert "failed: exit status 1" in done.out


def test_all_finished_is_success(trials: Trials, tmp_path: Path) -> None:
    done = called("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    assert (done.status, done.err) == (0, "")


def test_finished_trials_are_skipped_only_with_the_same_overrides(
    trials: Trials, tmp_path: Path
) -> None:
    called("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    called("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    assert len(trials.commands) == 2
    called("train", "-m", "seed=1,2", "hydra.sweep.dir=s", "group=mine")
    assert len(trials.commands) == 4
    called("train", "-m", "seed=1,2", "hydra.sweep.dir=s", "group=mine")
    assert len(trials.commands) == 4
    assert [word for word in trials.commands[-1] if word.startswith("group=")] == ["group=mine"]


def test_trial_that_is_wrong_from_the_start_is_a_failed_row(trials: Trials, tmp_path: Path) -> None:
    done = called("train", "-m", "seed=2", "freeze=none,head", "hydra.sweep.dir=s")
    assert done.status == 1
    assert len(trials.commands) == 1
    good, bad = rows(tmp_path / "s" / "sweep.csv")
    assert (good["status"], bad["status"]) == ("finished", "failed")
    assert "freeze.head must be given" in done.out


def test_trials_get_ones_own_yamls(trials: Trials, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    yaml = "defaults: [sample_reviews@_here_, _self_]\nlimit: {train: 50}\n"
    (tmp_path / "mine" / "task" / "few.yaml").write_text(yaml)
    own = ["--config-dir", "mine", "task@tasks.sentiment=few"]
    done = called("train", "-m", *own, "seed=1,2", "hydra.sweep.dir=s")
    assert (done.status, done.err) == (0, "")
    for command in trials.commands:
        assert command[-2:] == ["--config-dir", str(tmp_path / "mine")]


def test_a_sweep_has_one_folder_whatever_is_swept(trials: Trials, tmp_path: Path) -> None:
    done = called("train", "-m", "seed=1,2", "tasks=sample", "paths.output_dir=out")
    assert done.status == 0
    (folder,) = (tmp_path / "out" / "sweeps").iterdir()
    assert {file.name for file in folder.iterdir()} >= {"0", "1", "sweep.csv"}
