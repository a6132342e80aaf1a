"""`resume=RUN_FOLDER`: what it refuses, and what it goes on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import candelabra.commands.train
from candelabra.errors import ConfigError
from candelabra.files import DRAFT, checksum
from candelabra.run.resume import FREE, StoredRun, enter_working_folder, stored_run
from helpers.bundles import edit
from helpers.command_line import called
from helpers.interrupted_runs import OWN, refused, resumed, words_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming changes the working folder."""
    monkeypatch.chdir(tmp_path)


TYPED = {
    "a value": (["optimizer.lr=1"], "optimizer.lr was 0.0002 and would be 1"),
    "the precision": (["trainer.precision=16-mixed"], "trainer.precision was 'auto'"),
    "a sweep": (["-m", "seed=1,2"], "resume= resumes one run; -m"),
    "the validations": (
        ["trainer.val_check_interval=1", "trainer.accumulate_grad_batches=2"],
        "val_check_interval",
    ),
}


@pytest.mark.parametrize("case", TYPED)
def test_another_configuration_is_refused(run: Path, case: str) -> None:
    words, part = TYPED[case]
    said = refused(run, *words)
    assert part in said


def spoil_yaml(run: Path) -> None:
    (run.parent / "mine" / "optimizer" / "mine.yaml").write_text(OWN.replace("1e-7", "2e-7"))


def spoil_data(run: Path) -> None:
    file = run.parent / "data" / "banking77" / "train.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)


def finish(run: Path) -> None:
    edit(run / "run.json", lambda record: record.update(status="finished"))


def link_out(run: Path) -> None:
    file = run / "checkpoints" / "resume.ckpt"
    file.rename(run.parent / "elsewhere.ckpt")
    file.symlink_to(run.parent / "elsewhere.ckpt")


def cut(name: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[: len(whole) // 2])

    return spoil


def record(**values: Any) -> Callable[[Path], None]:
    return lambda run: edit(run / "run.json", lambda found: found.update(values))


FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "changed yaml": (spoil_yaml, "optimizer.eps was 1e-07 and would be 2e-07"),
    "changed data": (spoil_data, "the data of intent.train were changed"),
    "finished": (finish, "this run is finished"),
    "link out": (link_out, "resume.ckpt is a link out of the folder"),
    "a loop of links": (
        lambda run: (run / "loop").symlink_to("loop"),
        "loop is a link out of the folder",
    ),
    "deep record": (
        lambda run: (run / "run.json").write_text("[" * 200_000),
        "run.json or config.yaml is damaged",
    ),
    "a number of 5,000 digits": (
        lambda run: (run / "run.json").write_text("1" * 5000),
        "run.json or config.yaml is damaged",
    ),
    "no path": (
        lambda run: (run / "config.yaml").write_text('paths: {run_dir: "a\\0b"}\n'),
        "run.json or config.yaml is damaged",
    ),
    "no precision": (lambda run: edit(run / "run.json", lambda r: r.pop("precision")), "precision"),
    "no record": (lambda run: (run / "run.json").unlink(), "it has no file run.json"),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "no file config.yaml"),
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        "no checkpoint {run}/checkpoints/resume.ckpt of this run",
    ),
    "the checkpoint of an earlier run": (
        lambda run: edit(
            run / "run.json",
            lambda found: found.update(
                earlier_checkpoint=checksum(run / "checkpoints" / "resume.ckpt")
            ),
        ),
        "no checkpoint {run}/checkpoints/resume.ckpt of this run",
    ),
    "cut record": (cut("run.json"), "run.json or config.yaml is damaged"),
    "cut configuration": (cut("config.yaml"), "run.json or config.yaml is damaged"),
    "cut checkpoint": (
        cut("checkpoints/resume.ckpt"),
        "{run}/checkpoints/resume.ckpt is truncated",
    ),
    "a list": (lambda run: (run / "run.json").write_text("[]"), "is damaged"),
    "words": (record(overrides=[1]), "run.json must hold words"),
    "folders": (record(config_dirs=[["x"]]), "run.json must hold words"),
    "environment": (
        lambda run: words_of(run, "seed=${oc.env:HOME}"),
        "started with seed=${oc.env:HOME}, and a stored override of this kind is not used again",
    ),
    "a flag": (
        lambda run: words_of(run, "--multirun"),
        "was started with --multirun, and a stored override",
    ),
    "Hydra": (lambda run: words_of(run, "hydra.mode=RUN"), "was started with hydra.mode=RUN"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_another_folder_is_refused(run: Path, case: str) -> None:
    spoil, part = FOLDERS[case]
    spoil(run)
    assert part.format(run=run) in refused(run) if "{run" in part else part in refused(run)


def test_a_moved_run_goes_on_to_the_same_end(run: Path, tmp_path: Path) -> None:
    """With its data and yamls elsewhere too, and nothing left where it was started."""
    assert resumed(run).status == 0
    right = {file.name: file.read_bytes() for file in (run / "bundle").glob("*.safetensors")}
    scores = json.loads((run / "metrics.json").read_text())
    root = run.parent
    shutil.rmtree(root)
    shutil.copytree(root.with_name("kept"), tmp_path / "there")
    there = tmp_path / "there"
    (there / "data").rename(there / "rows")
    words = [f"cwd={there}", "data_dir=rows", "--config-dir", str(there / "mine")]
    done = called("train", f"resume={there / 'run'}", *words)
    root.mkdir()  # for the fixture, which restores it
    assert done.status == 0, done.err
    end = there / "run" / "bundle"
    assert {file.name: file.read_bytes() for file in end.glob("*.safetensors")} == right
    assert json.loads((there / "run" / "metrics.json").read_text()) == scores
    record = json.loads((there / "run" / "run.json").read_text())
    assert (record["cwd"], record["status"]) == (str(there), "finished")


def test_a_moved_run_names_where_its_paths_count(run: Path, tmp_path: Path) -> None:
    place = run.rename(tmp_path / "moved")
    done = called("train", f"resume={place}")
    assert "cwd=FOLDER names the folder from which relative paths count now" in done.message
    done = called("train", f"resume={place}", f"cwd={tmp_path}")
    assert "data/banking77/train.parquet: missing file" in done.message


def test_a_new_run_replaces_no_run_that_can_go_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    done = called("train", "encoder=tiny", f"hydra.run.dir={run}")
    assert done.status == 2
    assert f"can go on, by resume={run}; name a new folder, or delete it" in done.message
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_stored_working_folder_is_not_gone_to_unasked(run: Path, tmp_path: Path) -> None:
    done = called("train", f"resume={run}")
    assert (done.status, Path.cwd()) == (2, tmp_path)
    assert f"the run was started in {run.parent}, and this is {tmp_path}" in done.message
    assert f"cwd={run.parent}" in done.message
    assert "cwd= needs resume=" in called("train", f"cwd={run.parent}").message
    assert "allow= needs resume=" in called("train", "allow=mine.Head").message


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    run = StoredRun(tmp_path, {"cwd": str(tmp_path / "gone")}, {})
    with pytest.raises(ConfigError, match=r"cwd=.*/gone: No such file"):
        enter_working_folder(run, str(tmp_path / "gone"))


def test_only_a_folder_here_is_resumed() -> None:
    assert "not a run folder" in refused(Path("nowhere"))
    done = called("train", "resume=http://127.0.0.1:9/run")
    assert (done.status, done.message[:40]) == (2, "resume=http://127.0.0.1:9/run: not a run")


def test_what_a_kill_left_of_a_link_is_no_link_out(run: Path, tmp_path: Path) -> None:
    """Killed between the making of the link to W&B's files and its renaming."""
    (run / DRAFT.format(name="wandb", process=7)).symlink_to(tmp_path)
    assert stored_run(str(run)).folder == run


def test_other_devices_go_on_with_the_same_configuration(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes get what was typed, and the folder."""
    started: list[Any] = []

    def launch(command: list[str], processes: int) -> int:
        started.append((command[2:], processes))
        return 0

    monkeypatch.setattr(candelabra.commands.train, "launch", launch)
    typed = ["trainer=ddp_cpu", "trainer.accumulate_grad_batches=2", "num_workers=1"]
    assert resumed(run, *typed).status == 0
    assert started == [(["candelabra", "train", f"resume={run}", "allow=", *typed], 2)]


def test_a_failed_run_is_resumed_to_its_end(run: Path) -> None:
    """With the words, the yamls and the working folder of its start."""
    done = resumed(run, "num_workers=0")
    assert (done.status, done.err) == (0, "")
    found = json.loads((run / "run.json").read_text())
    assert found["status"] == "finished"
    assert "error" not in found
    assert len(found["resumed"]) == 1
    assert (run / "bundle" / "heads.safetensors").is_file()
    assert "this run is finished" in refused(run)


def test_typed_words_take_the_place_of_stored_ones(tmp_path: Path) -> None:
    stored = ["trainer=cpu", "data_dir=${oc.env:DATA}", "tasks.a.limit.train=3", "seed=1"]
    run = StoredRun(tmp_path, {"overrides": stored, "config_dirs": ["/a b"]}, {})
    command = run.command(["trainer=ddp_cpu", "data_dir=here"])
    assert command == [
        *("tasks.a.limit.train=3", "seed=1", "trainer=ddp_cpu", "data_dir=here"),
        *(f'hydra.run.dir="{tmp_path}"', "--config-dir", "/a b"),
    ]
    with pytest.raises(ConfigError, match=r"started with data_dir=\$\{oc.env:DATA\}"):
        run.command([])


def test_what_is_free_is_free() -> None:
    before = {"seed": 1, "trainer": {"devices": 1, "strategy": "auto", "val_check_interval": None}}
    run = StoredRun(Path("x"), {}, before)
    now = {**before, "trainer": {**before["trainer"], "devices": 2, "strategy": {"a": {"b": 3}}}}  # type: ignore[dict-item]
    run.check(now)
    with pytest.raises(ConfigError, match=rf"seed was 1 and would be None.*{FREE[0]}"):
        run.check({"trainer": now["trainer"]})
