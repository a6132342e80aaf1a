"""The page of a sweep against its trials."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest

from candelabra.errors import UserError
from candelabra.report.effects import Effect
from candelabra.report.page import html_page, markdown_page
from candelabra.report.sweep_trials import read_trials
from candelabra.report.sweep_view import sweep_page
from candelabra.report.view import Cells, Page
from helpers.pages import assert_harmless
from helpers.report_folders import HOSTILE
from helpers.sweep_folders import RATES, write_sweep


def table(page: Page, title: str) -> list[Cells]:
    (found,) = [
        each for one in page.sections for each in one.tables if each.title.startswith(title)
    ]
    return list(found.rows)


def test_trials_are_sorted_and_failed_ones_listed(tmp_path: Path) -> None:
    finished = write_sweep(tmp_path / "sweep", failed=2)
    page = sweep_page(tmp_path / "sweep")
    scores = [float(row["val/score"]) for row in table(page, "Finished")]
    expected = sorted((score for _, score in finished), reverse=True)
    assert scores == pytest.approx(expected, abs=1e-4)
    lost = table(page, "Not finished")
    assert [(row["trial"], row["status"], row["error"]) for row in lost] == [
        ("10", "failed", "the loss is nan"),
        ("11", "failed", "the loss is nan"),
    ]
    assert page.warnings == ["2 of 12 trials have no val/score and are not compared."]
    best_words = max(finished, key=lambda each: each[1])[0]
    assert page.answer.endswith(f"by {' '.join(best_words[1:])}.")
    assert "encoder=tiny" not in page.answer  # no option: the same in all trials
    assert page.sections[-1].command.endswith(" ".join(best_words))


def test_effects_are_means_over_the_trials_of_a_value(tmp_path: Path) -> None:
    finished = write_sweep(tmp_path / "sweep")
    page = sweep_page(tmp_path / "sweep")
    rows = {(row["option"], row["value"]): row for row in table(page, "Each value")}
    assert len(rows) == 3 + 2 + 2
    for (option, value), row in rows.items():
        scores = [score for words, score in finished if f"{option}={value}" in words]
        assert float(row["mean"]) == pytest.approx(statistics.fmean(scores), abs=1e-4)
        assert float(row["spread"]) == pytest.approx(statistics.stdev(scores), abs=1e-4)
        assert int(row["trials"]) == len(scores)
    options = table(page, "Options")
    assert [row["option"] for row in options] == ["optimizer.lr", "freeze", "seed"]
    assert [row["best value"] for row in options][:2] == ["0.0001", "nothing"]
    assert [value for option, value in rows if option == "optimizer.lr"] == list(RATES)


def test_explained_is_the_part_of_the_variance_between_the_values() -> None:
    assert Effect("a", {"x": [1.0, 1.0], "y": [2.0, 2.0]}).explained == pytest.approx(1)
    assert Effect("a", {"x": [1.0, 2.0], "y": [1.0, 2.0]}).explained == pytest.approx(0)
    assert Effect("a", {"x": [1.0, 1.0], "y": [1.0]}).explained == 0
    # By hand: centre 2.5; between 2 * .25 + 2 * .25 = 1 of 2.25 + .25 + .25 + 2.25 = 5.
    assert Effect("a", {"x": [1.0, 3.0], "y": [2.0, 4.0]}).explained == pytest.approx(0.2)
    assert Effect("a", {"x": [1.0], "y": [2.0], "z": [4.0]}).explained is None


def test_values_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, error=HOSTILE)
    for file in (*folder.glob(".trials/*/00000[0-5].json"), *folder.glob("[0-5]/run.json")):
        stored = json.loads(file.read_text())
        stored["overrides"].append(f"note={HOSTILE}")
        file.write_text(json.dumps(stored))
    found = sweep_page(folder)
    page, text = html_page("page", page=found), markdown_page("page", page=found)
    assert_harmless(page)
    assert "<script" not in page + text
    for picture in found.pictures:
        ElementTree.fromstring(picture.svg)


def test_many_numbers_have_a_plot_of_points(tmp_path: Path) -> None:
    for place in range(30):
        trial = tmp_path / "sweep" / str(place)
        trial.mkdir(parents=True)
        words = [f"optimizer.lr={10 ** (-6 + place / 10):.3g}", f"batch_size={8 + place}"]
        (trial / "run.json").write_text(json.dumps({"status": "finished", "overrides": words}))
        (trial / "metrics.json").write_text(json.dumps({"val/score": 0.5 + place / 100}))
    page = sweep_page(tmp_path / "sweep")
    assert [each.title for each in page.sections[0].tables] == [
        "The ten best",
        "Finished, the highest val/score first",
    ]
    assert len(page.pictures) == 3
    assert_harmless(html_page("page", page=page))


def test_a_sweep_of_failed_trials_has_a_page(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", failed=12)
    page = sweep_page(tmp_path / "sweep")
    assert page.answer == "No trial has finished."
    assert page.pictures == []
    assert len(table(page, "Not finished")) == 12


def test_a_sweep_that_was_moved_is_found(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    (tmp_path / "sweep").rename(tmp_path / "moved")
    assert [trial.name for trial in read_trials(tmp_path / "moved")] == list(map(str, range(12)))
    assert len(table(sweep_page(tmp_path / "moved"), "Finished")) == 11


def test_trials_that_did_not_begin_to_write_are_listed(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    (tmp_path / "sweep" / "3" / "run.json").unlink()
    lost = table(sweep_page(tmp_path / "sweep"), "Not finished")
    assert ("3", "not started") in [(row["trial"], row["status"]) for row in lost]


@pytest.mark.parametrize("place", ["x" * 10_000, "a\0b"])
def test_a_trial_whose_folder_has_no_name_of_a_file_is_one_message(
    tmp_path: Path, place: str
) -> None:
    begun = tmp_path / "sweep" / ".trials" / "a" / "000000.json"
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps({"folder": place, "overrides": []}))
    with pytest.raises(UserError, match="leads nowhere"):
        read_trials(tmp_path / "sweep")


@pytest.mark.parametrize("place", ["/etc", "../../etc", "..", "/"])
def test_trials_elsewhere_are_not_read(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "sweep"
    begun = folder / ".trials" / "a" / "000000.json"
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps({"folder": place, "overrides": []}))
    if Path(place).name in ("", ".."):
        with pytest.raises(UserError, match="is no folder of a trial"):
            sweep_page(folder)
    else:
        (trial,) = read_trials(folder)
        assert (trial.name, trial.status) == ("etc", "not started")


@pytest.mark.parametrize("content", ["[]", '{"folder": 3}', '{"a":' * 3000])
def test_damaged_files_are_one_message(tmp_path: Path, content: str) -> None:
    write_sweep(tmp_path / "sweep")
    next((tmp_path / "sweep").glob(".trials/*/*.json")).write_text(content)
    with pytest.raises(UserError):
        sweep_page(tmp_path / "sweep")


def test_a_folder_without_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a sweep without trials"):
        sweep_page(tmp_path)
