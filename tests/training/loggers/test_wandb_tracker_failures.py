"""A training goes on where W&B fails."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.demos.boring_classes import BoringModel

from candelabra.training.axes import GLOBAL_STEP
from helpers.wandb_runs import Make, freeze_service, kill_service, summary, warnings_of

QUIET = ["enable_checkpointing", "enable_progress_bar", "enable_model_summary"]


@pytest.mark.parametrize("notices", ["log", "finish"])
def test_a_dead_service_warns_once_and_the_next_run_works(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, notices: str
) -> None:
    tracker = make("dead")
    tracker.log_metrics({"val/x": 1.0}, step=0)
    kill_service()
    if notices == "log":
        tracker.log_metrics({"val/x": 1.0}, step=1)
        tracker.log_config({"a": 1})
        tracker.log_hyperparams({"b": 2})
        tracker.define_axes(["movie"])
        tracker.experiment.log({"val/x": 1.0})
    tracker.finish(0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert "dead" in message

    after = make("after")
    after.log_metrics({"val/x": 2.0}, step=0)
    after.finish(0)
    assert summary(tmp_path / "outputs/quickstart/after/wandb")["summary"]["val/x"] == 2.0
    assert len(warnings_of(caplog)) == 1


@pytest.mark.slow
def test_a_frozen_service_does_not_hold_the_end(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = make("frozen", finish_timeout_seconds=0.5)
    tracker.log_metrics({"val/x": 1.0}, step=0)
    freeze_service()
    tracker.log_summary({"val/x": 1.0})
    tracker.finish(0)
    assert "W&B did not answer within 0.5 s" in warnings_of(caplog)[0]
    after = make("after")
    after.log_metrics({"val/x": 2.0}, step=0)
    after.finish(0)
    assert summary(tmp_path / "outputs/quickstart/after/wandb")["summary"]["val/x"] == 2.0


def test_a_frozen_service_does_not_hold_the_training(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows fill its buffer, which nobody reads."""
    tracker = make("frozen", finish_timeout_seconds=0.5)
    tracker.log_metrics({"val/x": 1.0}, step=0)
    freeze_service()
    for step in range(1, 3000):
        tracker.log_metrics({f"train/{number}": 1.0 for number in range(20)}, step=step)
    tracker.finish(0)
    assert "W&B did not answer within 0.5 s" in warnings_of(caplog)[0]


@pytest.mark.parametrize("error", [wandb.Error("no"), OSError("disk full")])
def test_a_run_that_cannot_start_warns_once(
    make: Make,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", fail)
    tracker = make()
    tracker.log_config({"a": 1})
    tracker.log_metrics({"val/x": 1.0}, step=0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert str(error) in message


def test_a_wrong_setting_of_wandb_is_one_warning(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    wandb.teardown()  # the settings are read once in a process
    tracker = make()
    tracker.log_config({"a": 1})
    tracker.finish(0)
    monkeypatch.undo()
    wandb.teardown()
    (message,) = warnings_of(caplog)
    assert "a setting in a WANDB_ variable or file is wrong" in message


def test_our_own_errors_are_not_hidden(make: Make) -> None:
    tracker = make()
    with pytest.raises(ValueError, match="dictionary update sequence"):
        tracker.log_config("not a dict")  # type: ignore[arg-type]
    tracker.finish(1)


@pytest.mark.parametrize(
    ("port", "key", "advice"),
    [
        (9, None, "wandb login"),
        pytest.param(7, "0" * 40, "wandb sync", marks=pytest.mark.slow),
    ],
)
def test_online_without_a_login_or_a_network_stays_offline(
    make: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    port: int,
    key: str | None,
    advice: str,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")  # one each: a login lasts
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    wandb.teardown()  # the settings are read once in a process
    tracker = make(mode="online", connect_timeout_seconds=1.0)
    tracker.log_metrics({"val/x": 1.0}, step=0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert advice in message
    assert summary(tmp_path / "outputs/quickstart/run-1/wandb")["summary"]["val/x"] == 1.0


def test_a_settings_file_in_the_working_folder_gets_no_key(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a stranger's; the person's own file counts."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        theirs, ours = tmp_path / "theirs/wandb/settings", tmp_path / "config/settings"
        for file, port in ((theirs, stranger.getsockname()[1]), (ours, 5)):
            file.parent.mkdir(parents=True)
            file.write_text(f"[default]\nbase_url = http://127.0.0.1:{port}\nentity = {port}\n")
        monkeypatch.chdir(tmp_path / "theirs")
        monkeypatch.delenv("WANDB_BASE_URL")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        wandb.teardown()  # the settings are read once in a process
        tracker = make(mode="online", connect_timeout_seconds=1.0)
        tracker.log_metrics({"val/x": 1.0}, step=0)
        settings = tracker.experiment.settings
        tracker.finish(0)
        stranger.settimeout(0)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert (settings.base_url, settings.entity) == ("http://127.0.0.1:5", "5")
    assert Path.cwd() == tmp_path / "theirs"


@pytest.mark.parametrize("dies", [False, True])
def test_training_goes_on(make: Make, tmp_path: Path, dies: bool) -> None:
    class Killer(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if dies and trainer.global_step == 2:
                kill_service()

    class Model(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("train/loss", torch.tensor(0.5))
            return super().training_step(batch, batch_idx)

    tracker = make()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=4,
        limit_val_batches=0,
        logger=tracker,
        callbacks=[Killer()],
        log_every_n_steps=1,
        **dict.fromkeys(QUIET, False),
    )
    trainer.fit(Model())
    tracker.finish(0)
    assert trainer.global_step == 4
    if not dies:
        found = summary(tmp_path / "outputs/quickstart/run-1/wandb")["summary"]
        assert (found["train/loss"], found[GLOBAL_STEP]) == (0.5, 3)
