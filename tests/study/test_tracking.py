"""A study as one W&B run, read back from its files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import wandb

from candelabra.build.study import ID_FILE
from candelabra.commands.study_tracking import track_study
from candelabra.commands.study_words import Words
from candelabra.study.page import write_study
from candelabra.study.result import compare_arms
from candelabra.study.tracking import COLUMNS
from candelabra.study.view import View
from helpers.study_folders import study_of, write_arms
from helpers.wandb_runs import records, summary, warnings_of

pytestmark = pytest.mark.usefixtures("no_account")


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)  # among them the service of earlier tests, which may have ended
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studied")


@pytest.fixture(scope="module")
def view(root: Path) -> View:
    result = compare_arms(study_of(root, write_arms(root)))
    return write_study(result, root / "study")


@pytest.fixture
def place(root: Path, view: View, tmp_path: Path) -> Path:
    """A folder of the study of its own."""
    return Path(shutil.copytree(root / "study", tmp_path / "study"))


def words(folder: Path, *more: str) -> Words:
    return Words(["study=sharing"], [f"paths.output_dir={folder / 'outputs'}", *more])


def test_a_study_is_one_run(view: View, place: Path, tmp_path: Path) -> None:
    track_study(view, place, words(tmp_path, "logger.wandb.project=mine"))
    folder = place / "wandb"
    assert folder.resolve().parent == tmp_path / "outputs" / "wandb"
    found = summary(folder)
    assert (found["state"], found["project"], found["name"]) == (
        "finished",
        "mine",
        "sharing study",
    )
    (run,) = records(folder, "run")
    assert (run["run_group"], run["job_type"]) == ("sharing", "study")
    values, result = found["summary"], view.result
    assert values["answer"] == result.answer.sentence
    scores = result.mean_scores("movie")
    assert values["movie/shared/score"] == pytest.approx(scores["shared"])

    def content(name: str) -> str:
        return (folder / "files" / values[name]["path"]).read_text()

    table: dict[str, Any] = json.loads(content("study/arms"))
    assert table["columns"] == list(COLUMNS)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table["data"]]
    assert [(row["task"], row["arm"]) for row in rows] == [
        (task, arm.name) for task in result.study.margins for arm in result.study.arms
    ]
    compared = next(row for row in rows if (row["task"], row["arm"]) == ("movie", "shared"))
    contrast = result.contrasts["movie"]["shared"]
    assert contrast.interval is not None
    assert compared["difference"] == pytest.approx(contrast.difference)
    assert (compared["low"], compared["high"]) == pytest.approx(contrast.interval)
    assert compared["verdict"] == contrast.words
    assert content("study/report") == (place / "report.html").read_text()
    for picture in view.pictures:
        assert content(f"study/{picture.name}").startswith("<svg")


def test_a_continued_study_keeps_its_run(view: View, place: Path, tmp_path: Path) -> None:
    track_study(view, place, words(tmp_path))
    first = summary(place / "wandb")["run_id"]
    track_study(view, place, words(tmp_path))
    assert summary(place / "wandb")["run_id"] == first
    assert first in (place / ID_FILE).read_text()


def test_runs_without_wandb_make_a_study_without_it(
    view: View, place: Path, tmp_path: Path
) -> None:
    track_study(view, place, words(tmp_path, "logger=csv"))
    assert not (tmp_path / "outputs").exists()
    assert not (place / ID_FILE).exists()


def test_a_failure_is_a_warning(
    view: View,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**_: Any) -> None:
        raise wandb.Error("no")

    monkeypatch.setattr(wandb, "init", fail)
    track_study(view, place, words(tmp_path))
    assert len(warnings_of(caplog)) == 1
    (place / ID_FILE).unlink()
    (place / ID_FILE).mkdir()
    track_study(view, place, words(tmp_path))
    assert "candelabra: warning: the study has no W&B run" in capsys.readouterr().err
