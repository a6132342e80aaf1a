"""Every option of every group composes, is built, and takes two steps, offline.

The folder is walked: a new yaml is tested here at once. What it needs beyond its own name, such as
a stand-in for a data set or a pretrained model, is to be added to `helpers/`.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import safetensors.torch
import torch

from candelabra.build.rows import tasks_data
from candelabra.bundle.bundle import load
from candelabra.commands.arguments import compose as compose_command
from candelabra.config.schema import SCHEMAS, new_run_id, register
from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError
from candelabra.run.pretrain import pretrain
from candelabra.run.record import RunFolder
from candelabra.run.start import check_settings
from candelabra.run.train import train
from helpers.composing import (
    COMMANDS,
    FILES,
    NEEDED,
    OPTIONS,
    PARTS,
    SMALL,
    composed,
    two_steps,
    words,
)


def usual(name: str) -> bool:
    other = ("encoder/", "hydra/", "sweep/", "logger/", "method/", "study/")
    return not name.startswith(other) and name != "trainer/gpu"


@pytest.mark.parametrize("name", [name for name in OPTIONS if usual(name)])
def test_takes_two_steps(name: str, settings: list[str], tmp_path: Path) -> None:
    metrics = two_steps([*SMALL, *settings, *words(name)], tmp_path, option=name)
    assert -1 <= metrics["val/score"] <= 1  # a correlation may be negative


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("balancing/")])
def test_balancing_takes_two_alternate_steps(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    metrics = two_steps([*SMALL, *settings, *words(name), "step=alternate"], tmp_path)
    assert 0 <= metrics["val/score"] <= 1


def test_a_layer_mix_takes_two_steps(settings: list[str], tmp_path: Path) -> None:
    mixes = [f"tasks.{task}.layer_mix=true" for task in ("sentiment", "movie")]
    two_steps([*SMALL, *settings, *mixes], tmp_path)
    names = safetensors.torch.load_file(tmp_path / "bundle" / "heads.safetensors")
    assert {"mixes.sentiment.s", "mixes.movie.gamma"} <= set(names)
    assert set(load(tmp_path / "bundle").model.mixes) == {"sentiment", "movie"}


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("logger/")])
def test_logger_records_two_steps(name: str, settings: list[str], tmp_path: Path) -> None:
    small = [word for word in SMALL if word != "logger=csv"]
    overrides = [*small, *settings, "trainer.log_every_n_steps=1", *words(name)]
    loggers = set(composed(overrides, tmp_path).logger)
    two_steps(overrides, tmp_path)
    assert loggers <= {"csv", "wandb", "tensorboard"}
    assert (tmp_path / "metrics.csv").exists() is ("csv" in loggers)
    assert (tmp_path / "wandb").exists() is ("wandb" in loggers)
    assert bool(list(tmp_path.rglob("events.out.*"))) is ("tensorboard" in loggers)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("method/")])
def test_pretraining_takes_two_steps(name: str, settings: list[str], tmp_path: Path) -> None:
    cfg = composed([*SMALL, *settings, *words(name)], tmp_path, "pretrain")
    check_settings(cfg)
    metrics = pretrain(cfg, tasks_data(cfg.tasks), RunFolder(tmp_path, new_run_id()))
    assert 0 <= metrics["val/score"] <= 1
    assert (tmp_path / "encoder" / "model.safetensors").is_file()


def test_gpu_trainer_says_that_there_is_none(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed([*SMALL, *settings, "trainer=gpu"], tmp_path)
    check_settings(cfg)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(ConfigError, match=r"accelerator=gpu: this machine has no usable GPU"):
        train(cfg, tasks_data(cfg.tasks), RunFolder(tmp_path, new_run_id()))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_composes(name: str, tmp_path: Path) -> None:
    register()
    runs = name in ("train", "pretrain")
    cfg = composed([], tmp_path, name) if runs else compose_command(name, [])
    assert set(cfg) == {field.name for field in fields(SCHEMAS[name])}


@pytest.mark.parametrize("name", [*COMMANDS, *OPTIONS])
def test_opens_with_the_command_that_runs_it(name: str) -> None:
    lines = (conf_dir() / f"{name}.yaml").read_text().splitlines()
    comments = [line for line in lines if line.startswith("#") and "@package" not in line]
    assert re.match(rf"# candelabra ({'|'.join(COMMANDS)})\b", comments[0])


@pytest.mark.parametrize("name", PARTS)
def test_part_is_used_by_an_option(name: str) -> None:
    group, _, part = name.rpartition("base/")
    files = (conf_dir() / group).rglob("*.yaml")
    named = re.compile(rf"""[ "\[](base/)?{part}(@|,|$)""", re.MULTILINE)
    assert [file for file in files if named.search(file.read_text())]


def test_no_file_is_left_out() -> None:
    assert sorted([*COMMANDS, *PARTS, *OPTIONS]) == FILES
    assert set(COMMANDS) == set(SCHEMAS)
    assert set(NEEDED) <= set(OPTIONS)
    assert {file.suffix for file in conf_dir().rglob("*.*") if file.is_file()} == {".yaml"}
