"""The Python door gives what the command gives."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

import candelabra
from candelabra.errors import ConfigError
from candelabra.files import read_json
from candelabra.training.module import MultiTaskModule
from helpers.command_line import called

SMALL = ["encoder=tiny", "logger=csv", "callbacks=plain", "trainer.max_epochs=1"]
SMALL += ["trainer.limit_train_batches=2", "trainer.limit_val_batches=3", "callbacks.mixing=null"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_is_that_of_the_command() -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    cfg = candelabra.compose([*SMALL, "freeze=encoder", "hydra.run.dir=ours"])
    run = candelabra.train(cfg)
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
    assert called("train", *SMALL, "freeze=encoder", "hydra.run.dir=theirs").status == 0
    assert run.folder == Path("ours").absolute()
    assert run.metrics == read_json(run.folder / "metrics.json")
    assert run.metrics == read_json(Path("theirs/metrics.json"))
    ours, theirs = ({file.name for file in Path(name).iterdir()} for name in ("ours", "theirs"))
    assert ours == theirs - {".hydra"}
    configs = [yaml.safe_load(Path(name, "config.yaml").read_text()) for name in ("ours", "theirs")]
    assert configs[0]["freeze"] == configs[1]["freeze"]
    assert set(configs[0]) == set(configs[1])
    assert read_json(run.folder / "run.json")["status"] == "finished"
    (answer,) = run.bundle.predict("a fine film")
    assert set(answer) == {"text", "sentiment", "movie"}


def test_two_configurations_have_folders_of_their_own() -> None:
    first, second = candelabra.compose(), candelabra.compose(["seed=1"])
    assert (first.seed, second.seed) == (0, 1)
    assert first.paths.run_dir != second.paths.run_dir
    assert Path(first.paths.run_dir).is_absolute()


def test_an_edited_configuration_is_trained_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = candelabra.compose([*SMALL, "hydra.run.dir=ours"])
    cfg.seed = 5
    cfg.tags = ["it's", "mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("candelabra.run.finish.restore_best", fail)
        with pytest.raises(ArithmeticError):
            candelabra.train(cfg)
    assert "hydra" in cfg  # the configuration can be used again
    record = read_json(Path("ours/run.json"))
    assert (record["status"], record["seed"]) == ("failed", 5)
    done = called("train", "resume=ours")
    assert (done.status, done.err) == (0, "")
    assert read_json(Path("ours/run.json"))["status"] == "finished"


def fail(*_: object) -> None:
    raise ArithmeticError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pooling=meen"], "pooling has no option 'meen'; did you mean 'mean'"),
        (["trainer.devices=2"], "candelabra.train trains in one process"),
        (["optimizer.lr=-1"], "optimizer.lr must be a number above 0"),
    ],
)
def test_a_wrong_setting_is_an_error_of_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        candelabra.train(candelabra.compose([*SMALL, *words]))
    assert not list(Path().rglob("run.json"))


def test_only_a_composed_configuration_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"must come from candelabra\.compose"):
        candelabra.train(OmegaConf.create({"seed": 1}))


def test_a_folder_of_own_yamls(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "mine.yaml").write_text(
        "defaults: [adamw, _self_]\neps: 1\n"
    )
    assert candelabra.compose(["optimizer=mine"], config_dir="mine").optimizer.eps == 1


def test_an_interrupted_training_is_a_keyboard_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    weighted = MultiTaskModule.weighted

    def interrupted(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return weighted(*args)

    monkeypatch.setattr(MultiTaskModule, "weighted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        candelabra.train(candelabra.compose([*SMALL, "hydra.run.dir=ours"]))
    assert read_json(Path("ours/run.json"))["status"] == "interrupted"


def test_settings_of_the_distillation_need_a_teacher() -> None:
    cfg = candelabra.compose([*SMALL, "distillation.weight=1", "hydra.run.dir=ours"])
    with pytest.raises(
        ConfigError, match=r"distillation\.weight=1 has no effect without a teacher"
    ):
        candelabra.train(cfg)
