"""`resume=RUN_FOLDER`: what it refuses, and that a folder from a stranger runs no code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

import candelabra.commands.train
from bundles import edit
from candelabra import finishing
from candelabra.errors import ConfigError
from candelabra.files import DRAFT
from candelabra.resuming import FREE, StoredRun, go_back, stored_run
from command_line import Done, called
from stand_ins import write_data
from training.test_checkpoints import Canary

OWN = "defaults: [adamw, _self_]\neps: 1e-7\n"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of a run that was trained, and failed before it was tested."""
    root = tmp_path_factory.mktemp("interrupted")
    write_data(root / "data")
    (root / "mine" / "optimizer").mkdir(parents=True)
    (root / "mine" / "optimizer" / "mine.yaml").write_text(OWN)
    words = ["encoder=tiny", "logger=csv", "callbacks=plain", "tasks=banking77", "data_dir=data"]
    words += ["optimizer=mine", "trainer.max_epochs=1", "--config-dir", "mine", "eval_batch_size=8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finishing, "take_best", fail)
        patch.chdir(root)
        with pytest.raises(ArithmeticError):
            called("train", *words, "hydra.run.dir=run")
    shutil.copytree(root, root.with_name("kept"))
    yield root
    shutil.rmtree(root.with_name("kept"))


def fail(*_: object) -> None:
    raise ArithmeticError


@pytest.fixture
def run(interrupted: Path) -> Iterator[Path]:
    """Its run folder; whatever a test does to it is undone."""
    yield interrupted / "run"
    shutil.rmtree(interrupted)
    shutil.copytree(interrupted.with_name("kept"), interrupted)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming changes the working folder."""
    monkeypatch.chdir(tmp_path)


def resumed(run: Path, *words: str) -> Done:
    """From elsewhere, so the folder of the first start is named."""
    return called("train", f"resume={run}", f"cwd={run.parent}", *words)


def refused(run: Path, *words: str) -> str:
    done = resumed(run, *words)
    assert (done.status, done.out) == (2, "")
    return done.message


def words_of(run: Path, *words: str) -> None:
    edit(run / "run.json", lambda record: record["overrides"].extend(words))


TYPED = {
    "a value": (["optimizer.lr=1"], "optimizer.lr was 0.0002 and would be 1"),
    "the precision": (["trainer.precision=16-mixed"], "trainer.precision was 'auto'"),
    "a sweep": (["-m", "seed=1,2"], "resume= goes on with one run; -m"),
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
    "no record": (lambda run: (run / "run.json").unlink(), "it has no file run.json"),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "no file config.yaml"),
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        "no checkpoint {run}/checkpoints/resume.ckpt",
    ),
    "cut record": (cut("run.json"), "run.json or config.yaml is damaged"),
    "cut configuration": (cut("config.yaml"), "run.json or config.yaml is damaged"),
    "cut checkpoint": (cut("checkpoints/resume.ckpt"), "{run}/checkpoints/resume.ckpt is damaged"),
    "a list": (lambda run: (run / "run.json").write_text("[]"), "is damaged"),
    "words": (record(overrides=[1]), "run.json must hold words"),
    "folders": (record(config_dirs=[["x"]]), "run.json must hold words"),
    "another place": (
        record(cwd="/"),
        "the run was started in /, and cwd= is {run.parent}; type the command there, or cwd=/",
    ),
    "environment": (
        lambda run: words_of(run, "seed=${oc.env:HOME}"),
        "the run was started with seed=${oc.env:HOME}, and such a stored word is not used again",
    ),
    "a flag": (lambda run: words_of(run, "--multirun"), "was started with --multirun, and such"),
    "Hydra": (lambda run: words_of(run, "hydra.mode=RUN"), "was started with hydra.mode=RUN"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_another_folder_is_refused(run: Path, case: str) -> None:
    spoil, part = FOLDERS[case]
    spoil(run)
    assert part.format(run=run) in refused(run) if "{run" in part else part in refused(run)


def test_a_moved_folder_is_refused(run: Path) -> None:
    moved = run.rename(run.with_name("moved"))
    assert f"the run's folder is {run}; move it back there" in refused(moved)


def test_a_stored_working_folder_is_not_gone_to_unasked(run: Path, tmp_path: Path) -> None:
    done = called("train", f"resume={run}")
    assert (done.status, Path.cwd()) == (2, tmp_path)
    assert f"the run was started in {run.parent}, and this is {tmp_path}" in done.message
    assert f"cwd={run.parent} beside resume=" in done.message
    assert "cwd= belongs beside resume=" in called("train", f"cwd={run.parent}").message


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    run = StoredRun(tmp_path, {"cwd": str(tmp_path / "gone")}, {})
    with pytest.raises(ConfigError, match=r"the run was started in .*/gone: No such file"):
        go_back(run, str(tmp_path / "gone"))


def test_only_a_folder_here_is_resumed() -> None:
    assert "no run folder" in refused(Path("nowhere"))
    done = called("train", "resume=http://127.0.0.1:9/run")
    assert (done.status, done.message[:40]) == (2, "resume=http://127.0.0.1:9/run: no run fo")


def hostile_yaml(run: Path, node: str) -> None:
    folder = run.parent / "mine" / "experiment"
    folder.mkdir()
    (folder / "evil.yaml").write_text(f"# @package _global_\n{node}\n")
    words_of(run, "experiment=evil")


MKDIR = "{_target_: os.mkdir, path: %s, mode: 511}"
LOGGING = "{version: 1, handlers: {x: {(): os.mkdir, path: %s, mode: 511}}}"
HOSTILE: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "a target among the words": (
        lambda run, canary: words_of(run, f"+callbacks.evil={MKDIR % canary}"),
        "_target_ 'os.mkdir' is none of candelabra's own",
    ),
    "a target of Hydra among the words": (
        lambda run, canary: words_of(run, f"+hydra.callbacks.evil={MKDIR % canary}"),
        "such a stored word is not used again",
    ),
    "a target in a yaml": (
        lambda run, canary: hostile_yaml(run, f"callbacks: {{evil: {MKDIR % canary}}}"),
        "_target_ 'os.mkdir' is none of candelabra's own",
    ),
    "a target of Hydra in a yaml": (
        lambda run, canary: hostile_yaml(run, f"hydra: {{callbacks: {{evil: {MKDIR % canary}}}}}"),
        "set hydra.callbacks",
    ),
    "a logging handler in a yaml": (
        lambda run, canary: hostile_yaml(run, f"hydra: {{job_logging: {LOGGING % canary}}}"),
        "set hydra.job_logging",
    ),
    "the environment in a yaml": (
        lambda run, canary: hostile_yaml(run, "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}"),
        "set hydra.job",
    ),
    "a link out of the folder": (
        lambda run, canary: (run / "predictions").symlink_to(canary.parent),
        "predictions is a link out of the folder",
    ),
    "a target in the configuration": (
        lambda run, canary: (run / "config.yaml").write_text(
            (run / "config.yaml").read_text() + f"evil: {MKDIR % canary}\n"
        ),
        "evil",
    ),
    "a tag in the configuration": (
        lambda run, canary: (run / "config.yaml").write_text(
            f"!!python/object/apply:os.mkdir ['{canary}']"
        ),
        "run.json or config.yaml is damaged",
    ),
    "a pickle in the checkpoint": (
        lambda run, canary: torch.save(Canary(canary), run / "checkpoints" / "resume.ckpt"),
        "resume.ckpt cannot be read",
    ),
}


def stored(key: str, value: str) -> tuple[Callable[[Path, Path], Any], str]:
    return lambda run, canary: words_of(
        run, f"{key}={value.format(canary=canary)}"
    ), f"{key.lstrip('+')} is "


def best_elsewhere(run: Path, canary: Path) -> None:
    """The checkpoint names a file there, which a better one would replace."""
    words_of(run, "~callbacks.checkpoint")
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["callbacks"]["checkpoint"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    file = run / "checkpoints" / "resume.ckpt"
    found = torch.load(file, weights_only=True)
    for key, state in found["callbacks"].items():
        if key.startswith("ModelCheckpoint"):
            state["best_model_path"] = str(canary)
    torch.save(found, file)


HOSTILE |= {
    "a picture elsewhere": stored("callbacks.gradients.path", "{canary}/x.png"),
    "a picture in the working folder": stored("callbacks.gradients.path", "canary.png"),
    "metrics elsewhere": stored("logger.csv.folder", "{canary}"),
    "metrics above": stored("logger.csv.folder", "run/../canary"),
    "checkpoints elsewhere": stored("callbacks.best.dirpath", "{canary}"),
    "checkpoints at an address": stored("callbacks.best.dirpath", "'file://{canary}'"),
    "a file's name": stored("callbacks.best.filename", "../../canary"),
    "a whole path as a name": stored("callbacks.best.filename", "{canary}"),
    "resume checkpoints elsewhere": stored("callbacks.checkpoint.dirpath", "{canary}"),
    "outputs elsewhere": stored("paths.output_dir", "{canary}/x"),
    "a home": stored("+logger.csv.name", "'~/canary'"),
    "a file out of the run in the checkpoint": (best_elsewhere, "canary, which is not in"),
    "W&B online": (
        lambda run, canary: words_of(run, "logger=wandb"),
        "logger.wandb.mode=online sends the run to W&B; type logger=wandb beside resume=",
    ),
    "W&B online in a yaml": (
        lambda run, canary: hostile_yaml(
            run, "defaults: [{override /logger: default}]\nlogger: {wandb: {mode: online}}"
        ),
        "logger.wandb.mode=online sends the run to W&B",
    ),
    "a key that reads the environment in a yaml": (
        lambda run, canary: hostile_yaml(run, "group: '${ oc.env:HOME}'"),
        "group reads the environment; a stored setting may not do that, type group=",
    ),
    "the environment behind a key in a yaml": (
        lambda run, canary: hostile_yaml(run, "group: oc.env\ntags: ['${${group}:HOME}']"),
        "tags[0] reads the environment",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_folder_runs_no_code(run: Path, tmp_path: Path, case: str) -> None:
    spoil, part = HOSTILE[case]
    spoil(run, tmp_path / "canary")
    done = resumed(run)
    assert done.status == 2
    assert part in done.err
    assert not (tmp_path / "canary").exists()


def test_what_a_person_allows_is_resumed(run: Path, tmp_path: Path) -> None:
    words_of(run, f"+callbacks.own={MKDIR % (tmp_path / 'canary')}")
    found = stored_run(str(run), allow=["os.mkdir"])
    found.check({"callbacks": {"own": {"_target_": "os.mkdir"}}} | dict(found.config))


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
    stored = ["trainer=cpu", "data_dir=${oc.env:DATA}", "+tasks.a.limit.train=3", "seed=1"]
    run = StoredRun(tmp_path, {"overrides": stored, "config_dirs": ["/a b"]}, {})
    command = run.command(["trainer=ddp_cpu", "data_dir=here"])
    assert command == [
        *("+tasks.a.limit.train=3", "seed=1", "trainer=ddp_cpu", "data_dir=here"),
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
