from __future__ import annotations

import json
from pathlib import Path

import pytest

from candelabra.errors import ConfigError
from candelabra.study.arms import StudyRun
from candelabra.study.collect import count_looks, task_margins
from candelabra.study.loading import load_arm
from candelabra.study.tuning import Trial, best_rates
from helpers.study_folders import write_run

METRICS = {"mood": "accuracy", "who": "f1"}


def test_a_task_has_its_own_margin_or_that_of_its_metric() -> None:
    found = task_margins(METRICS, {"who": 0.02}, {"accuracy": 0.005, "f1": 0.01})
    assert found == {"mood": 0.005, "who": 0.02}


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"whom": 0.1}, r"study.margins: no task 'whom'; did you mean 'who'\?; tasks: mood, who"),
        ({"mood": 1, "who": 0}, "study.margins.who must be above 0, got 0"),
        ({"mood": 0.1}, "study.margins.who must give the smallest difference that matters"),
    ],
)
def test_a_margin_that_is_none(margins: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_margins(METRICS, margins, {})


def trial(root: Path, rate: float, score: float | None) -> Trial:
    folder = root / f"lr-{rate}"
    folder.mkdir()
    if score is not None:
        (folder / "metrics.json").write_text(json.dumps({"val/score": score}))
    return Trial(rate, StudyRun("base", 0, None, (), folder.name))


def test_a_learning_rate_that_diverged_is_passed_over(tmp_path: Path) -> None:
    tried = [trial(tmp_path, 0.1, 0.5), trial(tmp_path, 0.3, 0.7), trial(tmp_path, 0.9, None)]
    assert best_rates(tried, tmp_path) == {("base", None): 0.3}
    with pytest.raises(
        ConfigError, match=r"no learning rate of arm base .* see .*lr-0\.9/run\.log"
    ):
        best_rates(tried[2:], tmp_path)


def test_another_look_at_the_test_split_is_counted(tmp_path: Path) -> None:
    folders: dict[int, list[Path]] = {}
    looks = []
    for seed in (0, 1, 1, 2):
        folder = tmp_path / f"run-{seed}"
        write_run(folder, ["sentiment"], seed=seed)
        folders[seed] = [folder]
        looks.append(count_looks(tmp_path, [load_arm("a", folders, root=tmp_path)]))
    assert looks == [1, 2, 2, 3]


def test_a_run_that_is_not_finished_is_not_looked_at(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["sentiment"])
    one = load_arm("a", {0: [tmp_path / "run"]}, root=tmp_path)
    more = load_arm("a", {0: [tmp_path / "run"], 1: [tmp_path / "absent"]}, root=tmp_path)
    assert [count_looks(tmp_path, [arm]) for arm in (one, more)] == [1, 1]
