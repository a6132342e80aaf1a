"""The workspace of W&B, sent to a stand-in of its server."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import wandb
import yaml

from candelabra.run.workspace import logged_metrics, main, metric_files, project_of, sections_of

LOGGED = ["epoch", "step", "lr-AdamW/pg1", "train/loss", "train/grad_norm", "val/score"]
LOGGED += ["val/movie/f1", "test/movie/f1", "test/movie/f1/Actor", "train/movie/loss"]
LOGGED += ["val/mood/accuracy", "train/movie/share", "train/mood/share", "losses/mood/weight"]
LOGGED += ["gradients/mood_vs_movie/all/cosine", "gradients/mood_vs_movie/layer_1/cosine"]
SECTIONS = {
    "all tasks": {"loss": ["train/loss"], "score": ["val/score"]},
    "task movie": {"f1": ["test/movie/f1", "val/movie/f1"], "loss": ["train/movie/loss"]},
    "task mood": {"accuracy": ["val/mood/accuracy"]},
    "schedule": {
        "learning rate": ["lr-AdamW/pg1"],
        "share": ["train/mood/share", "train/movie/share"],
        "weight of the loss": ["losses/mood/weight"],
    },
    "gradients": {
        "mood vs movie: cosine": [
            "gradients/mood_vs_movie/all/cosine",
            "gradients/mood_vs_movie/layer_1/cosine",
        ],
        "norm of the gradient": ["train/grad_norm"],
    },
}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two runs, one of them a trial of a sweep."""
    folder = tmp_path / "outputs"
    for place, names in {"movie/run": LOGGED[:8], "sweeps/one/0": LOGGED[5:]}.items():
        (folder / place).mkdir(parents=True)
        (folder / place / "metrics.csv").write_text(f"{','.join(names)}\n1\n")
        config = {"logger": {"wandb": {"project": "mine"}}}
        (folder / place / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


class StandIn(BaseHTTPRequestHandler):
    """W&B's server, as far as a workspace needs it."""

    saved: list[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "upsertView" in asked["query"]:
            self.saved.append(asked["variables"])
        viewer = {
            "id": "1",
            "entity": "me",
            "username": "me",
            "flags": "{}",
            "teams": {"edges": []},
        }
        view = {"view": {"id": "2", "name": "nw-new-v"}, "inserted": True}
        answer = json.dumps({"data": {"viewer": viewer, "upsertView": view}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """The server that the person's own settings name."""
    monkeypatch.setattr(StandIn, "saved", [], raising=False)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        write_settings(tmp_path / "config/settings", server.server_address[1])
        wandb.teardown()  # the settings are read once in a process
        yield server
        server.shutdown()
    wandb.teardown()


def write_settings(file: Path, port: int) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(f"[default]\nbase_url = http://127.0.0.1:{port}\n")


def test_metrics_have_a_section_each(outputs: Path) -> None:
    files = metric_files(outputs)
    assert len(files) == 2
    assert logged_metrics(files) == sorted({*LOGGED} - {"step"})
    assert project_of(files[0].parent) == "mine"
    assert project_of(outputs) == "candelabra"
    sections = sections_of(logged_metrics(files))
    assert sections == SECTIONS
    assert [*sections][-2:] == ["schedule", "gradients"]


def test_the_workspace_is_sent_to_ones_own_server(
    outputs: Path,
    server: ThreadingHTTPServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not to that of a settings file in the working folder, which may be a stranger's."""
    pytest.importorskip("wandb_workspaces")
    assert main([str(outputs)]) == 2
    assert "nobody is logged in to W&B; run `wandb login`" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        write_settings(tmp_path / "theirs/wandb/settings", stranger.getsockname()[1])
        monkeypatch.chdir(tmp_path / "theirs")
        assert main([str(outputs)]) == 0
        stranger.settimeout(0)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert capsys.readouterr().out.strip().endswith("/me/mine?nw=new")
    (saved,) = StandIn.saved
    assert (saved["entityName"], saved["projectName"]) == ("me", "mine")
    bank = json.loads(saved["spec"])["section"]["panelBankConfig"]
    sections = {each["name"]: each["panels"] for each in bank["sections"]}
    assert [*sections] == [*SECTIONS]
    plots = {one["config"].get("chartTitle"): one["config"] for one in sections["task movie"]}
    assert plots["f1"]["metrics"] == ["test/movie/f1", "val/movie/f1"]
    assert (plots["f1"]["xAxis"], plots["loss"]["xAxis"]) == ("x/step", "x/movie/examples")
    schedule = {one["config"]["chartTitle"]: one["config"] for one in sections["schedule"]}
    assert schedule["learning rate"]["metrics"] == ["watch/lr-AdamW/pg1"], "as the logger says"
    assert sections["gradients"][-1]["config"]["mediaKeys"] == ["pictures/gradients"]


def test_a_folder_without_runs_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no run with a metrics.csv" in capsys.readouterr().err
