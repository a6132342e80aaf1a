from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from candelabra.study.decisions import (
    Answer,
    Decision,
    best_mean,
    cheapest_good_enough,
    share_or_separate,
)
from candelabra.study.result import compare_arms
from candelabra.study.verdicts import Verdict
from helpers.study_folders import METRICS, study_of, write_arms, write_run


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


share = partial(share_or_separate, shared="shared")
WIDE = {"sentiment": 0.2, "movie": 0.2}


def answer(
    root: Path,
    skills: Mapping[str, float],
    decide: Decision,
    margins: Mapping[str, float] = WIDE,
    seconds: Mapping[str, float] | None = None,
) -> Answer:
    """The answer of a study of arms with these skills; `seconds` is their training time."""
    folders = write_arms(root, skills=skills)
    for place, (arm, of_arm) in enumerate(folders.items()):
        for seed, several in of_arm.items():
            for folder in several:
                tasks = list(METRICS) if place else [folder.name.rpartition("-")[2]]
                time = (seconds or {}).get(arm, 100.0)
                settings = {"seed": 7 * place + seed, "skill": skills[arm], "fit_seconds": time}
                write_run(folder, tasks, **settings)
    return compare_arms(study_of(root, folders, decide=decide, margins=margins)).answer


def test_share_what_loses_nothing_that_matters(tmp_path: Path) -> None:
    found = answer(tmp_path, {"separate": 0.8, "shared": 0.8}, share)
    assert found == Answer("shared", "Share: 'shared' loses nothing that matters on any task.")


def test_separate_what_loses_on_a_task(tmp_path: Path) -> None:
    found = answer(
        tmp_path, {"separate": 0.95, "shared": 0.6}, share, {"sentiment": 0.01, "movie": 0.5}
    )
    assert found.choice == "separate"
    assert "'shared' is worse on sentiment" in found.sentence


def test_an_undecided_task_leaves_sharing_undecided(tmp_path: Path) -> None:
    found = answer(
        tmp_path, {"separate": 0.8, "shared": 0.8}, share, {"sentiment": 1e-5, "movie": 0.2}
    )
    assert found == Answer(None, "Undecided: the study does not settle sentiment.")


def test_a_rule_names_an_arm_that_is_compared(tmp_path: Path) -> None:
    rule = partial(share_or_separate, shared="separate")
    with pytest.raises(ValueError, match="must be one of the arms"):
        answer(tmp_path, {"separate": 0.8, "shared": 0.8}, rule)


def test_the_cheapest_arm_near_the_best(tmp_path: Path) -> None:
    skills = {"all": 0.9, "half": 0.9, "none": 0.5}
    seconds = {"all": 90.0, "half": 50.0, "none": 10.0}
    found = answer(tmp_path, skills, cheapest_good_enough, seconds=seconds)
    assert found.choice == "half"


def test_an_arm_that_alone_is_good_enough(tmp_path: Path) -> None:
    found = answer(tmp_path, {"all": 0.9, "none": 0.5}, cheapest_good_enough)
    assert found == Answer("all", "Take 'all': no other arm is known to be as good in every task.")


def test_the_best_mean_must_be_better_than_the_baseline(tmp_path: Path) -> None:
    better = answer(tmp_path / "better", {"base": 0.7, "other": 0.8, "best": 0.95}, best_mean)
    assert better.choice == "best"
    same = answer(tmp_path / "same", {"base": 0.8, "other": 0.8}, best_mean)
    assert same == Answer(
        "base", "'base' will do: no other arm is shown to have a better mean of the tasks."
    )


def test_the_answer_by_the_mean_names_what_is_better_on_a_task(tmp_path: Path) -> None:
    folders = write_arms(tmp_path, skills={"base": 0.8, "other": 0.8})
    for seed, (folder,) in folders["other"].items():
        write_run(folder, ["sentiment"], seed=seed, skill=0.95)
        sentiment, scores = (folder / "predictions/sentiment.jsonl").read_bytes(), metrics(folder)
        write_run(folder, list(METRICS), seed=seed, skill=0.5)
        (folder / "predictions/sentiment.jsonl").write_bytes(sentiment)
        (folder / "metrics.json").write_text(json.dumps({**metrics(folder), **scores}))
    found = compare_arms(study_of(tmp_path, folders, decide=best_mean)).answer
    assert found.choice == "base"
    assert found.sentence.endswith("mean of the tasks; better on sentiment: 'other'.")


def judged_means(**found: tuple[float, Verdict]) -> Any:
    """A result with these arms beside the baseline, each with its difference and verdict."""
    means = {
        name: SimpleNamespace(estimate=object(), difference=difference, verdict=verdict)
        for name, (difference, verdict) in found.items()
    }
    study = SimpleNamespace(baseline="base", others=[SimpleNamespace(name=name) for name in means])
    return SimpleNamespace(study=study, means=means, contrasts={})


def test_an_arm_that_may_be_better_hides_none_that_is() -> None:
    found = best_mean(
        judged_means(noisy=(0.02, Verdict.UNDECIDED), sure=(0.015, Verdict.BETTER_BY_LESS))
    )
    assert found == Answer(
        "sure",
        "Take 'sure': better than 'base' by 1.50 points on average; 'noisy' may be better still.",
    )


@pytest.mark.parametrize("lacking", [{"a": [0], "b": [1]}, {"a": [0, 1], "b": [2, 3]}])
def test_arms_with_too_few_common_seeds_are_not_near_each_other(
    lacking: dict[str, list[int]], tmp_path: Path
) -> None:
    num = 3 if len(lacking["a"]) == 1 else 4
    folders = write_arms(tmp_path, seeds=range(num), skills={"base": 0.5, "a": 0.9, "b": 0.9})
    for arm, seeds in lacking.items():
        for seed in seeds:
            shutil.rmtree(folders[arm][seed][0])
    study = study_of(tmp_path, folders, decide=cheapest_good_enough, margins=WIDE)
    assert "no other arm is known to be as good" in compare_arms(study).answer.sentence


def test_no_rule_judges_by_a_failed_run(tmp_path: Path) -> None:
    folders = write_arms(tmp_path, skills={"separate": 0.8, "shared": 0.95})
    write_run(folders["shared"][0][0], list(METRICS), status="failed", error="stopped")
    for rule in (share, cheapest_good_enough, best_mean):
        found = compare_arms(study_of(tmp_path, folders, decide=rule)).answer
        assert found.choice is None
        assert found.sentence.startswith("Undecided")
