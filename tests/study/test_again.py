"""A study's page, written again from what its folder keeps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candelabra.errors import UserError
from candelabra.study.again import INPUTS, keep_inputs, read_study
from candelabra.study.collect import LOOKS
from candelabra.study.page import html, write_study
from candelabra.study.result import compare_arms
from helpers.study_folders import study_of, write_arms

ANSWER = {
    "_target_": "candelabra.study.share_or_separate",
    "_partial_": True,
    "shared": "shared",
}
FACTS: dict[str, Any] = {"question": "Share?", "equal": ["the rows"], "limits": ["two seeds"]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study in `page`, its runs in `runs`, and one of its runs missing."""
    root = tmp_path_factory.mktemp("written")
    folders = write_arms(root)
    folders["adapters"][3] = [root / "runs" / "not-yet"]
    study = study_of(root / "runs", folders, test_reads=2, **FACTS)
    study = replace(study, arms=[replace(arm, ms_per_text=2.5) for arm in study.arms])
    page = root / "page"
    keep_inputs(page, study, runs_dir=root / "runs", answer=ANSWER)
    (page / LOOKS).write_text(json.dumps({"looks": ["a", "b"]}))
    write_study(compare_arms(study), page)
    return root


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """The page of a copy, which a test may change."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "page"


def changed(folder: Path, **facts: Any) -> None:
    kept = json.loads((folder / INPUTS).read_text())
    (folder / INPUTS).write_text(json.dumps(kept | facts))


def test_the_page_is_the_same(folder: Path, tmp_path: Path) -> None:
    view = write_study(compare_arms(read_study(folder)), tmp_path / "again")
    assert html(view) == (folder / "report.html").read_text()
    for name in ("study.json", "times.json", "report.md"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name
    assert view.result.study.test_reads == 2
    assert [row["run"] for row in view.missing] == ["not-yet"]


def test_a_study_and_its_runs_may_be_moved(folder: Path, tmp_path: Path) -> None:
    before = (folder / "study.json").read_text()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("page", "runs"):
        shutil.move(tmp_path / name, moved / name)
    plain = compare_arms(read_study(moved / "page")).plain()
    assert plain == json.loads(before)


def test_without_its_runs_the_page_is_kept(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(UserError, match="has none of its runs"):
        read_study(folder)


def test_without_inputs_the_message_says_what_to_do(folder: Path) -> None:
    (folder / INPUTS).unlink()
    with pytest.raises(UserError, match="the command of the study, typed again"):
        read_study(folder)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"arms": 3}, "damaged"),
        ({"arms": []}, "damaged"),
        ({"margins": {"movie": -1}}, "damaged"),
        ({"resamples": 10**12}, "resamples must be"),
        ({"baseline": "nobody"}, "baseline"),
        ({"answer": {"_target_": "os.system", "_partial_": True}}, r"os\.system"),
        ({"answer": {"_target_": "candelabra.study.best_mean", "shared": 1}}, "study.answer"),
    ],
)
def test_damaged_inputs_are_one_message(folder: Path, facts: dict[str, Any], words: str) -> None:
    changed(folder, **facts)
    with pytest.raises(UserError, match=words):
        read_study(folder)


def test_runs_outside_are_refused(folder: Path) -> None:
    kept = json.loads((folder / INPUTS).read_text())
    kept["arms"][0]["runs"]["0"][0]["name"] = "../../secret"
    (folder / INPUTS).write_text(json.dumps(kept))
    with pytest.raises(UserError, match="must be below the folder of the runs"):
        read_study(folder)


def test_damaged_runs_are_one_message(folder: Path, tmp_path: Path) -> None:
    run = next((tmp_path / "runs").iterdir())
    (run / "run.json").write_text('{"a":' * 3000)
    with pytest.raises(UserError, match=r"run\.json: cannot be read"):
        read_study(folder)
