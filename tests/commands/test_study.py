"""`candelabra study` from the command line to the page, with tiny runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import Done, called, started

TINY = ["encoder=tiny", "logger=csv", "callbacks=plain", "trainer.max_epochs=1"]
TINY += ["trainer.limit_train_batches=2", "seeds=2", "~study.arms.lora_per_task"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studied")


@pytest.fixture(scope="module")
def done(root: Path) -> Done:
    return started("study", *TINY, "output=page", folder=root)


@pytest.fixture(scope="module")
def result(root: Path, done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "page" / "study.json").read_text())
    return found


def test_a_study_ends_with_a_page(root: Path, done: Done, result: dict[str, Any]) -> None:
    assert done.status == 0
    assert "Traceback" not in done.err
    assert result["answer"]["sentence"] in done.out
    assert f"page: {Path('page') / 'report.html'}" in done.out
    assert "Share one encoder" in (root / "page" / "report.html").read_text()
    assert list(result["arms"]) == ["separate", "shared"]
    assert {*result["tasks"]} == {"sentiment", "movie"}
    for task in result["tasks"].values():
        assert {arm: list(seeds) for arm, seeds in task["scores"].items()} == {
            "separate": ["0", "1"],
            "shared": ["0", "1"],
        }


def test_a_report_writes_the_page_again_without_another_look(root: Path, done: Done) -> None:
    page = root / "page"
    before = {file: file.read_bytes() for file in page.rglob("*") if file.is_file()}
    (page / "report.html").unlink()
    again = called("report", str(page))
    assert again.status == 0, again.err
    assert {file: file.read_bytes() for file in page.rglob("*") if file.is_file()} == before


def test_scores_are_those_of_the_runs(root: Path, result: dict[str, Any]) -> None:
    metrics = [json.loads(file.read_text()) for file in root.glob("**/runs/*/metrics.json")]
    assert len(metrics) == 6  # two shared ones, and two for each task alone
    for task, found in result["tasks"].items():
        key = f"test/{task}/{found['metric']}"
        trained = sorted(round(each[key], 6) for each in metrics if key in each)
        scores = sorted(score for seeds in found["scores"].values() for score in seeds.values())
        assert scores == pytest.approx(trained, abs=1e-6)


def test_an_alone_run_trains_its_task_as_often_as_the_shared_one(root: Path, done: Done) -> None:
    steps: dict[str, set[tuple[int, int]]] = {}
    for file in root.glob("**/runs/*/run.json"):
        record = json.loads(file.read_text())
        config = (file.parent / "config.yaml").read_text()
        tasks = [task for task in ("sentiment", "movie") if f"\n  {task}:\n" in config]
        for task in tasks:
            steps.setdefault(task, set()).add((record["steps"], len(tasks)))
    for task in ("sentiment", "movie"):
        assert {count for count, _ in steps[task]} == {2}, task


def test_the_same_command_trains_nothing_again(
    root: Path, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    before = {file: file.stat().st_mtime_ns for file in root.glob("**/runs/*/run.json")}
    again = called("study", *TINY, "output=page")
    assert again.status == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert json.loads((root / "page" / "study.json").read_text()) == result


@pytest.mark.parametrize(
    ("word", "differs"),
    [("optimizer.lr=1e-3", " (arm separate differs)"), ("study.tune=3", "")],
)
def test_another_study_in_the_folder_is_refused_before_it_trains(
    root: Path, done: Done, monkeypatch: pytest.MonkeyPatch, word: str, differs: str
) -> None:
    monkeypatch.chdir(root)
    before = list(root.glob("**/run.json"))
    other = called("study", *TINY, "output=page", word)
    assert other.status == 2
    assert f"holds a study of other settings{differs}; give the changed" in other.message
    assert "output=FOLDER" in other.message
    assert list(root.glob("**/run.json")) == before


WRONG = {
    "seeds": (["seeds=1"], "seeds must be a whole number of at least 2, got 1"),
    "no study": (["study=null"], "study takes the name of an option, got 'null'"),
    "unknown study": (["study=shearing"], "sharing"),
    "margin": (["+study.margins.mood=1"], "study.margins: no task 'mood'"),
    "arm": (['+study.arms.x.overrides=["pooling=nope"]'], "study.arms.x: "),
    "key of an arm": (["+study.arms.x.frieze=1"], "study.arms.x: no key 'frieze'"),
    "arms without from": (["arms=freeze"], "arms= belongs to from="),
    "from without arms": (["from=."], "from= needs arms=KEY"),
    "no sweep": (["from=.", "arms=freeze"], "from=.: no trials"),
    "sweep": (["from=.", "arms=freeze", "logger=csv"], "from=.: no trials"),
    "training": (["from=.", "arms=freeze", "seed=3"], "seed=3: from= reads a finished sweep"),
    "no test": (["test=false"], "test=false: a study compares the test scores of its runs"),
    "metric": (
        ["tasks.sentiment.main_metric=f1_macro", "+study.margins.sentiment=.1"],
        "tasks.sentiment.main_metric=f1_macro: a study needs a metric that is counted row by row",
    ),
    "setting of all runs": (["optimizer.lr=-1"], "optimizer.lr"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_message(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = WRONG[case]
    sweep = words[0].startswith("from=")
    found = called("study", *(words if sweep else ["encoder=tiny", *words]))
    assert found.status == 2
    assert message in found.message
    assert not [file for file in tmp_path.rglob("*") if file.name == "run.json"]
