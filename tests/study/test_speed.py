"""Milliseconds that the models of an arm need for a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.files import read_json
from candelabra.study import speed
from candelabra.study.inputs import ArmRuns, Run, Status
from helpers.bundles import made

TEXTS = ["a fine film", "who directed it"]


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with a bundle, and one without."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("a", "b"):
        made().save(root / name / "bundle")
    (root / "c").mkdir()
    return root


def arm(name: str, *runs: str) -> ArmRuns:
    return ArmRuns(name, {0: [Run(run, Status.FINISHED) for run in runs]})


def test_an_arm_of_two_models_lets_both_answer_every_text(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    predict = Bundle.predict

    def counted(self: Bundle, texts: str | list[str], **settings: object) -> object:
        asked.append(1 if isinstance(texts, str) else len(texts))
        return predict(self, texts, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Bundle, "predict", counted)
    folders = {"two": [runs_dir / "a" / "bundle", runs_dir / "b" / "bundle"]}
    found = speed.measure_speed(folders, TEXTS, turns=3)
    assert found["two"] > 0
    assert asked == [1, 1] + [2, 2] * 4  # tried once, warmed up once, three turns


def test_arms_without_a_bundle_are_left_out_and_the_rest_is_kept(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [arm("one", "a"), arm("none", "c"), arm("half", "b", "c")]
    found = speed.arm_speeds(arms, runs_dir, TEXTS, tmp_path)
    assert list(found) == ["one"]
    assert read_json(tmp_path / speed.SPEED)["ms_per_text"] == found
    monkeypatch.setattr(speed, "measure_speed", lambda *_: pytest.fail("measured twice"))
    assert speed.arm_speeds(arms, runs_dir, TEXTS, tmp_path) == found


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 3}', '{"runs": {"one": ["a"]}}'])
def test_a_damaged_file_is_measured_again(runs_dir: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / speed.SPEED).write_text(text)
    found = speed.arm_speeds([arm("one", "a")], runs_dir, TEXTS, tmp_path)
    assert read_json(tmp_path / speed.SPEED)["ms_per_text"] == found


def test_a_damaged_bundle_is_left_out(runs_dir: Path, tmp_path: Path) -> None:
    made().save(tmp_path / "bundle")
    (tmp_path / "bundle" / "heads.safetensors").write_bytes(b"")
    folders = {"whole": [runs_dir / "a" / "bundle"], "damaged": [tmp_path / "bundle"]}
    assert list(speed.measure_speed(folders, TEXTS, turns=1)) == ["whole"]


def test_without_texts_nothing_is_measured(runs_dir: Path) -> None:
    assert speed.measure_speed({"one": [runs_dir / "a" / "bundle"]}, []) == {}
