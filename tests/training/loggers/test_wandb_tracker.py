"""What W&B wrote is read back by its own `wandb leet inspect`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytorch_lightning.utilities import rank_zero_only

from candelabra.training.axes import GLOBAL_STEP, axis_of
from helpers.wandb_runs import Make, records, summary, warnings_of


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
    tracker.log_metrics({"val/x": 1.0}, step=0)
    tracker.finish(1)
    tracker.finish(0)
    tracker.log_metrics({"val/x": 2.0}, step=1)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert found["summary"]["val/x"] == 1.0


def test_nothing_is_written_before_the_first_use(make: Make, tmp_path: Path) -> None:
    make().finish(0)
    assert not (tmp_path / "outputs").exists()


def test_all_runs_lie_in_one_folder_and_each_is_linked(make: Make, tmp_path: Path) -> None:
    for id, value in (("first", 1.0), ("second", 2.0)):
        link = tmp_path / "outputs/quickstart" / id / "wandb"
        link.parent.mkdir(parents=True, exist_ok=True)
        tracker = make(id)
        tracker.log_metrics({"val/x": value}, step=0)
        tracker.finish(0)
        assert not os.path.isabs(os.readlink(link))
        assert link.resolve().parent == (tmp_path / "outputs/wandb").resolve()
        assert summary(link)["summary"]["val/x"] == value
    assert len(list((tmp_path / "outputs/wandb").glob("offline-run-*"))) == 2


def test_an_unfinished_run_is_not_taken_for_the_next(make: Make, tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    first.log_metrics({"val/x": 1.0}, step=0)
    second.log_metrics({"val/x": 2.0}, step=0)
    second.finish(0)
    first.log_metrics({"val/x": 3.0}, step=1)
    first.finish(1)
    assert summary(tmp_path / "outputs/quickstart/first/wandb")["summary"]["val/x"] == 3.0
    assert summary(tmp_path / "outputs/quickstart/second/wandb")["summary"]["val/x"] == 2.0


def test_a_resumed_run_keeps_its_id_and_its_steps(make: Make, tmp_path: Path) -> None:
    for step in (3, 4):
        tracker = make()
        tracker.log_metrics({"val/x": float(step)}, step=step)
        tracker.finish(0)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")
    assert found["run_id"] == "run-1"
    assert found["summary"][GLOBAL_STEP] == 4


def test_a_folder_in_the_links_place_costs_the_link_only(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outputs/quickstart/run-1/wandb/kept").mkdir(parents=True)
    tracker = make()
    tracker.log_metrics({"val/x": 1.0}, step=0)
    tracker.finish(0)
    (folder,) = (tmp_path / "outputs/wandb").glob("offline-run-*")
    assert summary(folder)["summary"]["val/x"] == 1.0
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
        "train/movie/loss": "x/movie/examples",
        "train/sentiment/loss": GLOBAL_STEP,
        "val/movie/f1": GLOBAL_STEP,
        "val/score": GLOBAL_STEP,
    }


def test_scores_and_losses_are_the_first_charts(make: Make, tmp_path: Path) -> None:
    """The terminal dashboard and the page sort charts by name."""
    tracker = make()
    tracker.define_axes(["movie"])
    scores = {"val/score": 0.5, "val/movie/f1": 0.5, "test/score": 0.4}
    losses = {"train/loss": 1.0, "train/movie/loss": 1.0}
    others = {"epoch": 0, "movie/examples": 8, "lr-AdamW": 0.1, "gradients/a_vs_b/all/cosine": 0.1}
    others |= {"losses/movie/raw": 1.0, "train/movie/share": 0.5, "train/grad_norm": 2.0}
    tracker.log_metrics({**others, **losses, **scores}, step=1)
    tracker.finish(0)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")["summary"]
    names = sorted(name for name in found if not name.startswith("_"))
    assert set(names[:5]) == {*scores, *losses}
    assert len(names) == 5 + len(others) + 1


def test_the_summary_holds_the_final_scores(make: Make, tmp_path: Path) -> None:
    """Those of the best weights, not of the last validation."""
    tracker = make()
    tracker.log_metrics({"val/score": 0.5}, step=1)
    tracker.log_summary({"val/score": 0.9, "test/score": 0.8, "test/movie/f1/Actor": 0.1})
    tracker.finish(0)
    found = summary(tmp_path / "outputs/quickstart/run-1/wandb")["summary"]
    assert (found["val/score"], found["test/score"]) == (0.9, 0.8)
    assert not [name for name in found if name.endswith("Actor")]


def test_only_rank_zero_tracks(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = make()
    tracker.log_config({"a": 1})
    tracker.log_metrics({"val/x": 1.0}, step=0)
    tracker.experiment.log({"val/x": 1.0})
    tracker.finish(0)
    assert not (tmp_path / "outputs").exists()


def test_unknown_mode(make: Make) -> None:
    with pytest.raises(ValueError, match="mode must be one of offline, online; found 'ofline'"):
        make(mode="ofline")
