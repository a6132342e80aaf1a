from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from candelabra.files import read_json
from candelabra.run import record as run_folder
from candelabra.run.record import RunFolder
from candelabra.run.resume import StoredRun
from helpers.ended import ended_process

CONFIG = {"seed": 3, "tasks": {"mood": {"labels": ["a", "b"], "loss_weight": 1.0}}, "resume": None}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "quickstart" / "r1", "r1")


def test_a_start_writes_what_identifies_the_run(folder: RunFolder) -> None:
    folder.start(CONFIG, ["seed=3"])
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == CONFIG
    record = read_json(folder.path / "run.json")
    assert record["run_id"] == "r1"
    assert (record["status"], record["seed"], record["overrides"]) == ("running", 3, ["seed=3"])
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0] or record["versions"][
        "torch"
    ].startswith(torch.__version__.partition("+")[0])
    assert "ended" not in record


def test_what_a_killed_process_left_is_removed_by_the_next(folder: RunFolder) -> None:
    dead = ended_process()

    def leave() -> None:
        for name in ("metrics.csv", "checkpoints/resume.ckpt", "predictions/mood.jsonl"):
            whole = folder.path / name
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.with_name(f".{whole.name}.{dead}.tmp").write_bytes(b"half")
        (folder.path / f".wandb.{dead}.tmp").symlink_to("nowhere")

    for begin in (lambda: folder.start(CONFIG, []), folder.reopen):
        leave()
        begin()
        assert not list(folder.path.rglob("*.tmp"))


def test_a_new_run_is_not_resumed_from_the_checkpoint_of_an_earlier_one(
    folder: RunFolder, tmp_path: Path
) -> None:
    file = folder.path / "checkpoints" / "resume.ckpt"

    def has_checkpoint() -> bool:
        return StoredRun(folder.path, read_json(folder.path / "run.json"), {}).has_checkpoint

    folder.start(CONFIG, [])
    assert not has_checkpoint()
    file.parent.mkdir()
    file.write_bytes(b"of the first run")
    assert has_checkpoint()
    second = RunFolder(folder.path, "second")
    second.start({**CONFIG, "seed": 9}, [])
    assert file.is_file(), "nothing is lost by a command that was typed again"
    assert not has_checkpoint()
    second.update(status="failed")
    assert not has_checkpoint()
    file.write_bytes(b"of the second run")
    assert has_checkpoint()


def test_what_is_not_the_runs_own_stays(folder: RunFolder, tmp_path: Path) -> None:
    """Hidden files of a person, of a run below this one, of one that goes on, behind a link."""
    dead = ended_process()
    (tmp_path / "elsewhere").mkdir()
    folder.path.mkdir(parents=True)
    (folder.path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    kept = [
        folder.path / f".notes.{dead}.tmp",
        folder.path / ".cache" / f".metrics.csv.{dead}.tmp",
        folder.path / "other" / f".metrics.csv.{dead}.tmp",
        folder.path / "other" / "checkpoints" / f".resume.ckpt.{dead}.tmp",
        folder.path / f".metrics.csv.{os.getppid()}.tmp",
        tmp_path / "elsewhere" / f".resume.ckpt.{dead}.tmp",
    ]
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    folder.start(CONFIG, [])
    folder.reopen()
    assert all(file.is_file() for file in kept)


def test_facts_add_up(folder: RunFolder) -> None:
    folder.start(CONFIG, [])
    folder.update(device="cpu", steps_per_epoch=4)
    folder.update(device="cuda")
    record = read_json(folder.path / "run.json")
    assert (record["device"], record["steps_per_epoch"], record["run_id"]) == ("cuda", 4, "r1")


@pytest.mark.parametrize(
    ("status", "error"), [("finished", None), ("failed", "ValueError('x')"), ("interrupted", "y")]
)
def test_the_end_is_recorded(folder: RunFolder, status: str, error: str | None) -> None:
    folder.start(CONFIG, [])
    folder.finish(status, error=error)
    record = read_json(folder.path / "run.json")
    assert record["status"] == status
    assert record["started"] <= record["ended"]
    assert record.get("error") == error


def test_times_are_utc(folder: RunFolder) -> None:
    folder.start(CONFIG, [])
    started = read_json(folder.path / "run.json")["started"]
    assert started.endswith("+00:00")
    assert started[:13] in {
        time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() - back)) for back in (0, 60)
    }


def test_metrics_are_one_flat_object(folder: RunFolder) -> None:
    metrics = {"val/score": 0.5, "val/mood/accuracy": 0.25}
    folder.write_metrics(metrics)
    assert json.loads((folder.path / "metrics.json").read_text()) == metrics


def test_a_missing_record_is_empty(tmp_path: Path) -> None:
    assert read_json(tmp_path / "run.json") == {}


def test_the_commit_is_that_of_the_codes_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="abc123\n")

    monkeypatch.setattr(subprocess, "run", run)
    file = tmp_path / "src" / "candelabra" / "training" / "run_folder.py"
    monkeypatch.setattr(run_folder, "__file__", str(file))
    # Installed into an environment inside another project: that project's commit is not ours.
    assert run_folder._git_commit() is None
    (tmp_path / ".git").mkdir()
    assert run_folder._git_commit() == "abc123"
    assert asked == [["git", "-C", str(tmp_path.resolve()), "rev-parse", "HEAD"]]


@pytest.mark.parametrize("fault", [OSError("no git"), subprocess.TimeoutExpired("git", 10)])
def test_without_git_there_is_no_commit(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(subprocess, "run", run)
    assert run_folder._git_commit() is None


def test_an_unknown_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_folder._version("no-such-package-here") is None
