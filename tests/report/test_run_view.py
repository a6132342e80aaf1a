"""The page of a run against recounts of its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import seqeval.metrics
from sklearn.metrics import classification_report

from candelabra.errors import UserError
from candelabra.report.page import html_page, markdown_page
from candelabra.report.run_view import run_page
from candelabra.report.view import Cells, Page, Section, Table
from helpers.pages import assert_harmless
from helpers.report_folders import COLUMNS, HOSTILE, LABELS, NUM_ROWS, lines_of, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return run_page(folder)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A run of one task, to be changed."""
    return write_run(tmp_path, tasks=("mood",))


def section(page: Page, title: str) -> Section:
    (found,) = [each for each in page.sections if each.title == title]
    return found


def table(page: Page, title: str, start: str) -> list[Cells]:
    (found,) = [each for each in section(page, title).tables if each.title.startswith(start)]
    return list(found.rows)


def errors_of(page: Page, task: str) -> Table:
    return section(page, task).tables[-1]


def test_every_task_has_a_section_between_the_scores_and_what_repeats_the_run(page: Page) -> None:
    titles = [each.title for each in page.sections]
    tasks = sorted(COLUMNS)
    assert titles == ["Scores", "How it came about", *tasks, "Settings", "To repeat it"]
    assert page.warnings == []
    assert all(each.warnings == [] for each in page.sections[2:-2])
    assert len({picture.name for picture in page.pictures}) == len(page.pictures)


def test_scores_are_those_of_the_run(folder: Path, page: Page) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in table(page, "Scores", "Main")[:-1]:
        key = f"test/{row['task']}/{row['metric']}"
        assert float(row["test"]) == pytest.approx(metrics[key], abs=1e-4)
        assert f"{row['task']} {row['metric']} {row['test']}" in page.answer
    assert {row["metric"] for row in table(page, "Scores", "Other")} == {"loss"}


def test_classes_are_counted_as_sklearn_counts(folder: Path, page: Page) -> None:
    lines = lines_of(folder, "mood")
    gold, said = [line["label"] for line in lines], [line["prediction"]["label"] for line in lines]
    expected = classification_report(gold, said, output_dict=True, zero_division=0)
    rows = table(page, "mood", "Each class")
    assert [row["class"] for row in rows] == LABELS
    for row in rows:
        for column, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1-score")):
            assert float(row[column]) == pytest.approx(expected[row["class"]][key], abs=1e-4)
        assert int(row["rows"]) == gold.count(row["class"])
    for row in table(page, "mood", "Most frequent confusions"):
        pair = (row["label"], row["prediction"])
        assert int(row["rows"]) == list(zip(gold, said, strict=True)).count(pair)
        assert pair[0] != pair[1]


def test_label_sets_are_counted_label_by_label(folder: Path, page: Page) -> None:
    lines = lines_of(folder, "topics")
    for row in table(page, "topics", "Each label"):
        name = row["class"]
        pairs = [(name in line["label"], name in line["prediction"]["labels"]) for line in lines]
        right, gold, said = (
            pairs.count((True, True)),
            sum(a for a, _ in pairs),
            sum(b for _, b in pairs),
        )
        assert float(row["precision"]) == pytest.approx(right / said, abs=1e-4)
        assert float(row["recall"]) == pytest.approx(right / gold, abs=1e-4)


def test_entities_are_counted_as_seqeval_counts(folder: Path, page: Page) -> None:
    """Each character is a word for seqeval here."""
    gold, said = [], []
    for line in lines_of(folder, "movie"):
        for spans, several in ((line["label"], gold), (line["prediction"], said)):
            tags = ["O"] * 100
            for span in spans:
                tags[span["start"] : span["end"]] = [f"I-{span['type']}"] * (
                    span["end"] - span["start"]
                )
                tags[span["start"]] = f"B-{span['type']}"
            several.append(tags)
    expected = seqeval.metrics.classification_report(gold, said, output_dict=True, zero_division=0)
    rows = table(page, "movie", "Each entity type")
    assert {row["type"] for row in rows} == {"Actor", "Year"}
    for row in rows:
        for column, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1-score")):
            assert float(row[column]) == pytest.approx(expected[row["type"]][key], abs=1e-4)
        assert int(row["entities"]) == expected[row["type"]]["support"]


def test_the_worst_errors_are_sorted_and_have_their_texts(folder: Path, page: Page) -> None:
    lines = lines_of(folder, "mood")
    wrong = {
        line["row"]: line["prediction"]["probabilities"][line["label"]]
        for line in lines
        if line["label"] != line["prediction"]["label"]
    }
    expected = sorted(wrong, key=lambda row: wrong[row])[:20]
    rows = errors_of(page, "mood").rows
    assert [int(row["row"]) for row in rows] == expected
    data = (folder.parent / "data" / "mood-test.jsonl").read_text().splitlines()
    for row in rows:
        assert row["text"] == json.loads(data[int(row["row"])])["text"]
    numbers = [abs(float(row["difference"])) for row in errors_of(page, "stars").rows]
    assert numbers == sorted(numbers, reverse=True)
    triplets = errors_of(page, "near").rows
    assert all(float(row["similarity to positive minus negative"]) <= 0 for row in triplets)
    assert {"text 1", "text 2", "text 3"} <= set(triplets[0])


def test_texts_and_names_are_escaped_and_shortened(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    file = folder / "run.json"
    record = json.loads(file.read_text()) | {
        "status": "failed",
        "error": HOSTILE,
        "device": HOSTILE,
    }
    file.write_text(json.dumps(record | {"overrides": [HOSTILE]}))
    found = run_page(folder, most_errors=NUM_ROWS)
    page, text = html_page("page", page=found), markdown_page("page", page=found)
    assert_harmless(page)
    assert "&lt;script&gt;steal()" in page
    assert "<script" not in text + page
    assert not {"\x1b", "\u202e"} & set(text)
    for picture in found.pictures:
        ElementTree.fromstring(picture.svg)
    cells = [
        cell
        for each in found.sections
        for table in each.tables
        for row in table.rows
        for cell in row.values()
    ]
    assert max(map(len, cells)) <= 301


def test_changed_data_are_not_shown(other: Path) -> None:
    file = other.parent / "data" / "mood-test.jsonl"
    file.write_text(file.read_text().replace("hanks", "hunks"))
    found = section(run_page(other), "mood")
    assert "have changed since the run" in found.warnings[0]
    assert "text" not in found.tables[-1].rows[0]
    assert len(found.tables[-1].rows) == 20


def test_data_that_are_gone_are_said_so_and_may_lie_elsewhere(other: Path) -> None:
    config = other / "config.yaml"
    for split in ("train", "test"):
        name = str(other.parent / "data" / f"mood-{split}.jsonl")
        config.write_text(config.read_text().replace(name, f"mood-{split}.jsonl"))
    text = config.read_text().replace("source:\n", f"source:\n      folder: {other / 'gone'}\n")
    config.write_text(text)
    found = section(run_page(other), "mood")
    assert "The data cannot be read" in found.warnings[0]
    assert "text" not in found.tables[-1].rows[0]
    found = section(run_page(other, data_dir=str(other.parent / "data")), "mood")
    assert found.warnings == []
    assert "text" in found.tables[-1].rows[0]


def test_without_errors_no_data_are_read(other: Path) -> None:
    (other.parent / "data" / "mood-test.jsonl").unlink()
    found = section(run_page(other, most_errors=0), "mood")
    assert found.warnings == []
    assert [each.title for each in found.tables] == ["Each class", "Most frequent confusions"]


def test_a_run_that_was_interrupted_has_a_page(other: Path) -> None:
    record = json.loads((other / "run.json").read_text()) | {"status": "interrupted"}
    (other / "run.json").write_text(json.dumps(record))
    (other / "metrics.json").unlink()
    (other / "predictions" / "mood.jsonl").unlink()
    page = run_page(other)
    assert page.answer == "No scores. Status of the run: interrupted."
    assert len(page.warnings) == 3
    assert [each.title for each in page.sections] == [
        "How it came about",
        "Settings",
        "To repeat it",
    ]
    assert_harmless(html_page("page", page=page))


def test_predictions_of_another_test_are_noticed(other: Path) -> None:
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["test/mood/accuracy"] += 0.1
    (other / "metrics.json").write_text(json.dumps(metrics))
    assert "the predictions give" in section(run_page(other), "mood").warnings[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.json", "[1]", "must hold a JSON object"),
        ("run.json", '{"a":' * 3000, "not JSON"),
        ("metrics.json", "{", "not JSON"),
        ("config.yaml", "a: [", "not YAML"),
        ("config.yaml", "a: &x [1]\nb: *x", "references"),
        ("config.yaml", "tasks: 3", "must name tasks"),
        ("config.yaml", "tasks: {../x: {main_metric: f1}}", "must match"),
        ("config.yaml", "tasks: {mood: {}}", "must name its main_metric"),
        ("predictions/mood.jsonl", "{}\n", "line 1: no prediction"),
        ("predictions/mood.jsonl", "[" * 3000, "not JSON"),
        (
            "predictions/mood.jsonl",
            '{"row": 0, "label": [1], "prediction": {"label": "good"}}\n',
            "line 1: no prediction",
        ),
    ],
)
def test_damaged_files_are_one_message(other: Path, name: str, content: str, words: str) -> None:
    (other / name).write_text(content)
    with pytest.raises(UserError, match=words):
        run_page(other)


def test_links_out_of_the_folder_are_refused(other: Path) -> None:
    outside = other.parent / "outside.json"
    outside.write_text("{}")
    (other / "metrics.json").unlink()
    (other / "metrics.json").symlink_to(outside)
    with pytest.raises(UserError, match="a link out of the folder"):
        run_page(other)


def test_stored_settings_build_nothing_else(other: Path) -> None:
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("candelabra.data.Files", "os.system"))
    with pytest.raises(UserError, match=r"os\.system"):
        run_page(other)
