"""Which bundle teaches which task."""

from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.bundle.teachers import check_labels, check_needed, teacher_folders
from candelabra.errors import BundleError, ConfigError
from helpers.bundles import made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher") / "bundle"
    made().save(place)
    return place


def test_missing_labels_are_named_on_both_sides(folder: Path) -> None:
    check_labels("mood", ["POSITIVE", "NEGATIVE"], folder, "mood")
    with pytest.raises(ConfigError, match=r"the teacher of tasks.mood lacks 'neutral'"):
        check_labels("mood", ["NEGATIVE", "POSITIVE", "neutral"], folder, "mood")
    with pytest.raises(ConfigError, match=r"the task of tasks.mood lacks 'POSITIVE'"):
        check_labels("mood", ["NEGATIVE"], folder, "mood")


def test_a_bundle_teaches_the_tasks_of_its_names(folder: Path) -> None:
    assert teacher_folders(None, ["mood"]) == {}
    assert teacher_folders(str(folder), ["mood", "other"]) == {"mood": (folder, "mood")}
    assert teacher_folders({"who": str(folder)}, ["who"]) == {"who": (folder, "who")}


def test_a_bundle_of_one_task_teaches_a_task_of_any_name(tmp_path: Path) -> None:
    made().merged("mood").save(tmp_path / "one")
    found = teacher_folders({"sentiment": str(tmp_path / "one")}, ["sentiment"])
    assert found == {"sentiment": (tmp_path / "one", "mood")}


@pytest.mark.parametrize(
    ("teacher", "named"),
    [
        ("{folder}", r"its tasks are mood, who, none of the run's \(other\)"),
        ({"other": "{folder}"}, r"teacher.other=.*: its tasks are mood, who"),
        ({"othr": "{folder}"}, r"teacher.othr: no trained task .*did you mean 'other'"),
    ],
)
def test_a_bundle_without_the_task_is_refused(
    folder: Path, teacher: str | dict[str, str], named: str
) -> None:
    filled = (
        teacher.format(folder=folder)
        if isinstance(teacher, str)
        else {task: name.format(folder=folder) for task, name in teacher.items()}
    )
    with pytest.raises(ConfigError, match=named):
        teacher_folders(filled, ["other"])


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="teacher"):
        teacher_folders(str(tmp_path), ["mood"])


@pytest.mark.parametrize("teacher", ["", {}])
def test_an_empty_name_is_no_teacher(teacher: str | dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"teacher must name a bundle, or be null .*, got ('|{)"):
        teacher_folders(teacher, ["mood"])


@pytest.mark.parametrize("word", ["distillation.weight=1", "+distillation.temperature=3"])
def test_settings_of_the_distillation_need_a_teacher(word: str) -> None:
    check_needed(["seed=1", word], "BUNDLE")
    check_needed(["distillation=none"], None)
    with pytest.raises(ConfigError, match=r"distillation\..* has no effect without a teacher"):
        check_needed(["seed=1", word], None)
