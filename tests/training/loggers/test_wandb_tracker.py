"""What W&B wrote is read back by its own `wandb leet inspect`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities import rank_zero_only

from candelabra.training.axes import GLOBAL_STEP, axis_of
from candelabra.training.loggers.wandb_tracker import WandbTracker

Make = Callable[..., WandbTracker]
QUIET = ["enable_checkpointing", "enable_progress_bar", "enable_model_summary"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A W&B address where nobody answers, and no login."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(id: str = "run-1", **kwargs: Any) -> WandbTracker:
        outputs = tmp_path / "outputs"
        given = {"save_dir": outputs, "run_dir": outputs / "quickstart" / id, "name": f"n-{id}"}
        return WandbTracker(**{**given, "id": id, **kwargs})

    return make


def inspect(folder: Path, *options: str) -> str:
    """What `wandb leet inspect` prints of a run's folder."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(inspect(folder, "--summary"))


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in inspect(folder).splitlines()]
    return [row[kind] for row in rows if row["type"] == kind]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.name == "candelabra.training.loggers.wandb_tracker"
    ]


def kill_service() -> None:
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("wandb"):
            process.kill()
            process.wait()


def test_a_run_can_be_read_back(make: Make, tmp_path: Path) -> None:
    tracker = make(group="sweep-7", job_type="evaluate", tags=["a", "b"])
    tracker.log_config({"seed": 0, "encoder": {"name": "tiny", "layers": [1, 2]}})
    tracker.log_metrics({"train/loss": 0.5}, step=1)
    tracker.log_metrics({"train/loss": 0.25, "val/score": 0.9}, step=2)
    tracker.finish(0)

    folder = tmp_path / "outputs/quickstart/run-1/wandb"
    found = summary(folder)
    assert found["run_id"] == "run-1"
    assert found["name"] == "n-run-1"
    assert found["project"] == "candelabra"
    assert found["tags"] == ["a", "b"]
    assert found["config"] == {"seed": 0, "encoder": {"name": "tiny", "layers": [1, 2]}}
    assert found["summary"]["train/loss"] == 0.25
    assert found["summary"]["val/score"] == 0.9
    assert found["summary"][GLOBAL_STEP] == 2
    assert (found["state"], found["exit_code"]) == ("finished", 0)
    (run,) = records(folder, "run")
    assert (run["run_group"], run["job_type"]) == ("sweep-7", "evaluate")


def test_a_failed_run_says_so_and_ends_once(make: Make, tmp_path: Path) -> None:
    tracker = make()
    tracker.log_metrics({"x": 1.0}, step=0)
    tracker.finish(1)
    tracker.finish(0)
    tracker.log_metrics({"x": 2.0}, step=1)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert found["summary"]["x"] == 1.0


def test_nothing_is_written_before_the_first_use(make: Make, tmp_path: Path) -> None:
    make().finish(0)
    assert not (tmp_path / "outputs").exists()


def test_all_runs_lie_in_one_folder_and_each_is_linked(make: Make, tmp_path: Path) -> None:
    for id, value in (("first", 1.0), ("second", 2.0)):
        link = tmp_path / "outputs/quickstart" / id / "wandb"
        link.parent.mkdir(parents=True, exist_ok=True)
        tracker = make(id)
        tracker.log_metrics({"x": value}, step=0)
        tracker.finish(0)
        assert not os.path.isabs(os.readlink(link))
        assert link.resolve().parent == (tmp_path / "outputs/wandb").resolve()
        assert summary(link)["summary"]["x"] == value
    assert len(list((tmp_path / "outputs/wandb").glob("offline-run-*"))) == 2


def test_an_unfinished_run_is_not_taken_for_the_next(make: Make, tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    first.log_metrics({"x": 1.0}, step=0)
    second.log_metrics({"x": 2.0}, step=0)
    second.finish(0)
    first.log_metrics({"x": 3.0}, step=1)
    first.finish(1)
    assert summary(tmp_path / "outputs/quickstart/first/wandb")["summary"]["x"] == 3.0
    assert summary(tmp_path / "outputs/quickstart/second/wandb")["summary"]["x"] == 2.0


def test_a_resumed_run_keeps_its_id_and_its_steps(make: Make, tmp_path: Path) -> None:
    for step in (3, 4):
        tracker = make()
        tracker.log_metrics({"x": float(step)}, step=step)
        tracker.finish(0)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")
    assert found["run_id"] == "run-1"
    assert found["summary"][GLOBAL_STEP] == 4


def test_a_folder_in_the_links_place_costs_the_link_only(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outputs/quickstart/run-1/wandb/kept").mkdir(parents=True)
    tracker = make()
    tracker.log_metrics({"x": 1.0}, step=0)
    tracker.finish(0)
    (folder,) = (tmp_path / "outputs/wandb").glob("offline-run-*")
    assert summary(folder)["summary"]["x"] == 1.0
    assert (tmp_path / "outputs/quickstart/run-1/wandb/kept").is_dir()
    assert "no link" in "".join(warnings_of(caplog))


def test_axis_of() -> None:
    names = ["train/movie/loss", "train/sentiment/loss", "val/movie/f1", "train/loss", "movie"]
    assert [axis_of(name, {"movie"}) for name in names] == ["movie/examples"] + [GLOBAL_STEP] * 4


def test_every_metric_has_one_axis(make: Make, tmp_path: Path) -> None:
    tracker = make()
    tracker.define_axes(["movie", "sentiment"])
    row = {"train/movie/loss": 1.0, "movie/examples": 8.0, "train/sentiment/loss": 1.0}
    for step in (1, 2):
        tracker.log_metrics(row, step=step)
        tracker.log_metrics({"val/movie/f1": 0.1 * step, "val/score": 0.5}, step=step)
    tracker.finish(0)
    found = records(tmp_path / "outputs/quickstart/run-1/wandb", "metric")
    axes = {metric["name"]: metric.get("step_metric") for metric in found}
    assert len(found) == len(axes)
    assert axes == {
        "train/movie/loss": "movie/examples",
        "train/sentiment/loss": GLOBAL_STEP,
        "val/movie/f1": GLOBAL_STEP,
        "val/score": GLOBAL_STEP,
    }


@pytest.mark.parametrize("notices", ["log", "finish"])
def test_a_dead_service_warns_once_and_the_next_run_works(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, notices: str
) -> None:
    tracker = make("dead")
    tracker.log_metrics({"x": 1.0}, step=0)
    kill_service()
    if notices == "log":
        tracker.log_metrics({"x": 1.0}, step=1)
        tracker.log_config({"a": 1})
        tracker.log_hyperparams({"b": 2})
        tracker.define_axes(["movie"])
        tracker.experiment.log({"x": 1.0})
    tracker.finish(0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert "dead" in message

    after = make("after")
    after.log_metrics({"x": 2.0}, step=0)
    after.finish(0)
    assert summary(tmp_path / "outputs/quickstart/after/wandb")["summary"]["x"] == 2.0
    assert len(warnings_of(caplog)) == 1


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
    tracker.log_metrics({"x": 1.0}, step=0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert str(error) in message


def test_our_own_errors_are_not_hidden(make: Make) -> None:
    tracker = make()
    with pytest.raises(ValueError, match="dictionary update sequence"):
        tracker.log_config("not a dict")  # type: ignore[arg-type]
    tracker.finish(1)


@pytest.mark.parametrize(
    ("port", "key", "advice"), [(9, None, "wandb login"), (7, "0" * 40, "wandb sync")]
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
    tracker.log_metrics({"x": 1.0}, step=0)
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert advice in message
    assert summary(tmp_path / "outputs/quickstart/run-1/wandb")["summary"]["x"] == 1.0


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
        tracker.log_metrics({"x": 1.0}, step=0)
        settings = tracker.experiment.settings
        tracker.finish(0)
        stranger.settimeout(0)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert (settings.base_url, settings.entity) == ("http://127.0.0.1:5", "5")
    assert Path.cwd() == tmp_path / "theirs"


def test_only_rank_zero_tracks(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = make()
    tracker.log_config({"a": 1})
    tracker.log_metrics({"x": 1.0}, step=0)
    tracker.experiment.log({"x": 1.0})
    tracker.finish(0)
    assert not (tmp_path / "outputs").exists()


def test_unknown_mode(make: Make) -> None:
    with pytest.raises(ValueError, match="mode must be one of offline, online; found 'ofline'"):
        make(mode="ofline")


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
