from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from candelabra.study.result import compare_arms
from candelabra.study.verdicts import BETTER, Verdict
from candelabra.study.view import view_of
from helpers.study_folders import METRICS, study_of, write_arms, write_run


def test_a_better_arm_is_told_from_an_equal_one(tmp_path: Path) -> None:
    skills = {"separate": 0.8, "same": 0.8, "better": 0.95}
    study = study_of(tmp_path, write_arms(tmp_path, seeds=range(5), skills=skills))
    result = compare_arms(study)
    for task in METRICS:
        assert result.contrasts[task]["better"].verdict in BETTER
        assert result.contrasts[task]["same"].verdict not in BETTER
    assert result.means["better"].verdict in BETTER


def test_differences_are_those_of_the_scores(tmp_path: Path) -> None:
    study = study_of(tmp_path, write_arms(tmp_path))
    result = compare_arms(study)
    for task in METRICS:
        scores = result.samples[task].scores
        expected = np.mean([scores["shared"][s] - scores["separate"][s] for s in (0, 1, 2)])
        assert result.contrasts[task]["shared"].difference == pytest.approx(expected)


def test_seeds_and_rows_are_paired(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    # The first seed, so that a pair by place would be another than a pair by seed.
    shutil.rmtree(folders["shared"][0][0])
    result = compare_arms(study_of(tmp_path, folders))
    scores = result.samples["sentiment"].scores
    found = result.contrasts["sentiment"]["shared"].estimate
    assert found is not None
    pairs = [scores["shared"][seed] - scores["separate"][seed] for seed in (1, 2)]
    assert found.by_seed == pytest.approx(pairs)
    same = compare_arms(study_of(tmp_path, {**folders, "copy": folders["adapters"]}))
    drawn = same.samples["sentiment"].drawn
    for seed in (0, 1, 2):
        assert np.array_equal(drawn["copy"][seed], drawn["adapters"][seed])


def test_p_values_are_holms_over_arms_and_tasks(tmp_path: Path) -> None:
    from statsmodels.stats.multitest import multipletests

    result = compare_arms(study_of(tmp_path, write_arms(tmp_path)))
    every = [one for found in result.contrasts.values() for one in found.values()]
    plain = [one.estimate.p_value for one in every if one.estimate]
    assert len(plain) == 4
    adjusted = multipletests(plain, method="holm")[1]
    assert [one.adjusted.p_value for one in every] == pytest.approx(adjusted.tolist())


def test_arms_with_the_same_predictions_count_once(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    once = compare_arms(study_of(tmp_path, folders))
    copied = compare_arms(study_of(tmp_path, {**folders, "copy": folders["adapters"]}))
    assert (copied.same, once.same) == ({"copy": "adapters"}, {})
    assert copied.strictest == once.strictest
    for task in METRICS:
        assert copied.contrasts[task]["copy"].plain() == copied.contrasts[task]["adapters"].plain()
        for arm, contrast in once.contrasts[task].items():
            assert copied.contrasts[task][arm].plain() == contrast.plain()
    assert "between 'adapters' and 'copy'" in " ".join(view_of(copied).limits)


def test_models_that_agree_on_every_row_are_not_judged(tmp_path: Path) -> None:
    """As where all of them give every text the same label, for lack of training."""
    folders = write_arms(tmp_path)
    result = compare_arms(study_of(tmp_path, {**folders, "alike": folders["separate"]}))
    for task in METRICS:
        contrast = result.contrasts[task]["alike"]
        assert contrast.words.startswith("not judged: the models score the same on every test row")
        assert contrast.adjusted.p_value == 1


def test_the_content_is_the_same_for_the_same_runs(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    contents = [
        json.dumps(compare_arms(study_of(tmp_path, folders)).plain(), allow_nan=False)
        for _ in range(2)
    ]
    write_run(folders["shared"][0][0], list(METRICS), seed=7, skill=0.8, fit_seconds=9999.0)
    contents.append(json.dumps(compare_arms(study_of(tmp_path, folders)).plain()))
    assert len(set(contents)) == 1


def test_a_failed_seed_judges_nothing_of_its_arm(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    write_run(folders["shared"][1][0], list(METRICS), status="failed", error="loss is not finite")
    result = compare_arms(study_of(tmp_path, folders))
    for task in METRICS:
        contrast = result.contrasts[task]["shared"]
        assert contrast.verdict is Verdict.NOT_JUDGED
        assert contrast.words == "not judged: seed 1 failed: loss is not finite"
        assert result.contrasts[task]["adapters"].verdict is not Verdict.NOT_JUDGED
    assert result.answer.choice is None


def test_a_failed_model_of_one_task_leaves_the_other_task(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    write_run(folders["separate"][0][0], ["sentiment"], status="failed", error="stopped")
    result = compare_arms(study_of(tmp_path, folders))
    assert {one.verdict for one in result.contrasts["sentiment"].values()} == {Verdict.NOT_JUDGED}
    assert Verdict.NOT_JUDGED not in {one.verdict for one in result.contrasts["movie"].values()}
    assert {one.verdict for one in result.means.values()} == {Verdict.NOT_JUDGED}


def test_a_study_that_is_not_complete_is_a_smaller_study(tmp_path: Path) -> None:
    folders = write_arms(tmp_path, seeds=range(3))
    smaller = compare_arms(study_of(tmp_path, write_arms(tmp_path / "small", seeds=range(2))))
    shutil.rmtree(folders["shared"][2][0])
    result = compare_arms(study_of(tmp_path, folders))
    found, expected = (each.contrasts["movie"]["shared"].estimate for each in (result, smaller))
    assert found is not None
    assert expected is not None
    assert found.by_seed == expected.by_seed
    shutil.rmtree(folders["shared"][1][0])
    few = compare_arms(study_of(tmp_path, folders))
    words = "not judged: needs two seeds of both arms; found 1"
    assert few.contrasts["movie"]["shared"].words == words


def test_corrected_test_texts_are_other_rows(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    changed = {task: {"test": "cd" * 32} for task in METRICS}
    write_run(folders["shared"][2][0], list(METRICS), seed=9, fingerprints=changed)
    result = compare_arms(study_of(tmp_path, folders))
    expected = "not judged: the test texts were changed between the runs of its seeds"
    assert result.contrasts["movie"]["shared"].words == expected
    assert result.contrasts["movie"]["adapters"].verdict is not Verdict.NOT_JUDGED


def test_other_rows_are_not_compared(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    write_run(folders["shared"][2][0], list(METRICS), num_rows=300)
    result = compare_arms(study_of(tmp_path, folders))
    expected = "seed 2 was evaluated on other rows than the other runs"
    assert result.contrasts["movie"]["shared"].reason == expected


def test_a_metric_that_rows_do_not_give_is_not_judged(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    for seed in range(3):
        file = folders["shared"][seed][0] / "metrics.json"
        file.write_text(json.dumps({"test/sentiment/accuracy": 0.5, "test/movie/f1": 0.5}))
    result = compare_arms(study_of(tmp_path, folders))
    expected = "seed 0: the predictions do not reproduce accuracy"
    assert result.contrasts["sentiment"]["shared"].reason == expected


def test_a_study_needs_a_baseline_two_arms_and_margins(tmp_path: Path) -> None:
    folders = write_arms(tmp_path)
    with pytest.raises(ValueError, match="baseline: must be one of the arms"):
        study_of(tmp_path, folders, baseline="other")
    with pytest.raises(ValueError, match="margin of movie: must be above 0"):
        study_of(tmp_path, folders, margins={"movie": 0.0})
    with pytest.raises(ValueError, match="margins: must name"):
        study_of(tmp_path, folders, margins={})
    with pytest.raises(ValueError, match="arms: must be two or more"):
        study_of(tmp_path, {"separate": folders["separate"]})
