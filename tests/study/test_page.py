from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from candelabra.study.page import html, markdown, write_study
from candelabra.study.result import compare_arms
from candelabra.study.view import view_of
from helpers.pages import assert_harmless, elements
from helpers.study_folders import METRICS, study_of, write_arms, write_run

HOSTILE = "</style><script>steal()</script>--><img src=x onerror=steal()>\x1b[2J $x^2$ | `a`"
SECTIONS = [
    "For each task",
    "All arms and tasks",
    "Cost",
    "How it came about",
    "What this cannot say",
    "To repeat it",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_study(compare_arms(study_of(root, write_arms(root))), root)
    return root


def test_writes_the_files(folder: Path) -> None:
    names = {"study.json", "times.json", "report.md", "report.html", "pictures", "runs"}
    assert {path.name for path in folder.iterdir()} == names
    found = json.loads((folder / "study.json").read_text())
    assert list(found["tasks"]) == ["sentiment", "movie"]
    assert "seconds" not in (folder / "study.json").read_text()
    assert json.loads((folder / "times.json").read_text())["separate"]["training_seconds"] > 0


def test_the_page_has_all_sections_in_order(folder: Path) -> None:
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == SECTIONS
    assert re.findall("^## (.*)", text, re.MULTILINE) == SECTIONS
    assert page.count("<h1>") == 1


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    assert_harmless((folder / "report.html").read_text())


def test_a_study_that_finds_no_difference_says_so(tmp_path: Path) -> None:
    folders = write_arms(tmp_path, seeds=(0, 1))
    write_run(folders["shared"][0][0], list(METRICS), skill=0.05)
    few = view_of(compare_arms(study_of(tmp_path, folders)))
    assert few.tasks[0].about.endswith("too few to find even the largest difference.")


def test_pictures_share_no_names_and_describe_themselves(folder: Path) -> None:
    found = elements((folder / "report.html").read_text())
    pictures = [attributes for tag, attributes in found if tag == "svg"]
    assert len(pictures) == 7
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)
    for file in (folder / "pictures").iterdir():
        ElementTree.parse(file)
    references = re.findall(r"pictures/([\w-]+)\.svg", (folder / "report.md").read_text())
    assert sorted(references) == sorted(file.stem for file in (folder / "pictures").iterdir())


def test_texts_of_the_data_are_escaped(tmp_path: Path) -> None:
    names = {"movie": HOSTILE.replace("/", "")}
    folders = write_arms(tmp_path, skills={"separate": 0.8, HOSTILE: 0.8}, names=names)
    folders["failed"] = {0: [tmp_path / "failed"]}
    write_run(tmp_path / "failed", ["sentiment"], status="failed", error=HOSTILE)
    margins = {"sentiment": 0.005, names["movie"]: 0.01}
    facts = {"question": HOSTILE, "command": HOSTILE, "limits": [HOSTILE], "equal": [HOSTILE]}
    study = study_of(tmp_path, folders, margins=margins, decide=lambda result: _answer(), **facts)
    view = view_of(compare_arms(study))
    page, text = html(view), markdown(view)
    assert_harmless(page)
    assert "<script" not in page
    assert "onerror" in page
    assert "<script" not in text
    assert "\x1b" not in text
    for picture in view.pictures:
        ElementTree.fromstring(picture.svg)


def _answer() -> object:
    from candelabra.study.decisions import Answer

    return Answer(None, HOSTILE)


def test_missing_runs_are_listed(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    write_run(folders["shared"][1][0], ["sentiment", "movie"], status="failed", error="loss is nan")
    folders["separate"][2] = [tmp_path / "runs" / "not-yet"]
    view = view_of(compare_arms(study_of(tmp_path, folders)))
    found = [(row["arm"], row["seed"], row["state"], row["reason"]) for row in view.missing]
    assert found == [
        ("separate", "2", "missing", "not trained yet"),
        ("shared", "1", "failed", "loss is nan"),
    ]
    for page in (html(view), markdown(view)):
        assert "Not complete" in page
        assert "not judged: seed 1 failed: loss is nan" in page


def test_a_study_without_any_run_has_a_page(tmp_path: Path) -> None:
    folders = {name: {0: [tmp_path / name]} for name in ("separate", "shared")}
    view = view_of(compare_arms(study_of(tmp_path, folders)))
    assert "No arm can be judged" in html(view)
    assert view.pictures == []
