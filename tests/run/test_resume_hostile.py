"""A run folder from a stranger runs no code, writes nowhere else, and sends nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from candelabra.run.resume import stored_run
from helpers.interrupted_runs import resumed, words_of
from training.callbacks.test_checkpoints import Canary


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming changes the working folder."""
    monkeypatch.chdir(tmp_path)


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
        "_target_ 'os.mkdir' is not one of candelabra's",
    ),
    "a target of Hydra among the words": (
        lambda run, canary: words_of(run, f"+hydra.callbacks.evil={MKDIR % canary}"),
        "a stored override of this kind is not used again",
    ),
    "a target in a yaml": (
        lambda run, canary: hostile_yaml(run, f"callbacks: {{evil: {MKDIR % canary}}}"),
        "_target_ 'os.mkdir' is not one of candelabra's",
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
        "logger.wandb.mode=online sends the run to W&B; type logger=wandb together with resume=",
    ),
    "W&B online in a yaml": (
        lambda run, canary: hostile_yaml(
            run, "defaults: [{override /logger: default}]\nlogger: {wandb: {mode: online}}"
        ),
        "logger.wandb.mode=online sends the run to W&B",
    ),
    "a key that reads the environment in a yaml": (
        lambda run, canary: hostile_yaml(run, "group: '${ oc.env:HOME}'"),
        "group reads the environment; a stored setting must not do that, type group=",
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
