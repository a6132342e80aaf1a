"""One file whose rows have a label for one task, for another, or for several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from candelabra.bundle.bundle import load
from helpers.command_line import called
from helpers.stand_ins import text

TASKS = {
    "mood": ("classification", "{text: text, label: mood}", "[bad, good]"),
    "who": ("tagging", "{words: words, tags: tags}", "[O, B-Actor, I-Actor]"),
    "about": ("multilabel", "{text: text, labels: topics}", "[cast, plot, year]"),
    "stars": ("regression", "{text: text, number: stars}", "null"),
}
YAML = """
defaults: [base/{base}@_here_, _self_]
source:
  _target_: candelabra.data.Files
  train: {file}
  test: {file}
columns: {columns}
labels: {labels}
missing_labels: skip
"""
NUM_ROWS = 60


def cells(row: int) -> dict[str, Any]:
    """Every second row has a mood, every third tags, every fourth topics, every fifth stars."""
    words = text(row).split()
    found: dict[str, Any] = {"text": text(row), "words": words}
    tags: list[str | None] = ["B-Actor", "I-Actor", *["O"] * (len(words) - 2)]
    tags[-1] = None
    every = {
        "mood": ("good" if row % 4 else "bad", 2),
        "tags": (tags, 3),
        "topics": (["cast"] if row % 8 else {"plot": True, "year": None}, 4),
        "stars": (row % 10 / 2, 5),
    }
    return found | {name: value if row % n == 0 else None for name, (value, n) in every.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of all four tasks from the one file."""
    root = tmp_path_factory.mktemp("partial")
    file = root / "rows.jsonl"
    file.write_text("".join(json.dumps(cells(row)) + "\n" for row in range(NUM_ROWS)))
    (root / "conf" / "task").mkdir(parents=True)
    chosen = []
    for task, (base, columns, labels) in TASKS.items():
        yaml = YAML.format(base=base, file=file, columns=columns, labels=labels)
        (root / "conf" / "task" / f"one_{task}.yaml").write_text(yaml)
        chosen.append(f"+task@tasks.{task}=one_{task}")
    small = ["encoder=tiny", "logger=csv", "trainer.max_epochs=1", "callbacks=plain"]
    place = [f"hydra.run.dir={root / 'run'}", f"paths.output_dir={root}"]
    done = called(
        "train", "--config-dir", str(root / "conf"), "tasks=none", *chosen, *small, *place
    )
    assert done.status == 0, done.err
    assert "no label" in done.out
    return root / "run"


def test_each_task_has_the_rows_with_its_label(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["missing_labels"] == {
        task: dict.fromkeys(("train", "test"), NUM_ROWS - NUM_ROWS // n)
        for n, task in enumerate(TASKS, start=2)
    }
    assert record["skipped"] == {task: {} for task in TASKS}
    for n, task in enumerate(TASKS, start=2):
        lines = (run / "predictions" / f"{task}.jsonl").read_text().splitlines()
        assert [json.loads(line)["row"] for line in lines] == list(range(0, NUM_ROWS, n))


def test_all_tasks_are_judged_and_answer(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    main = ("mood/accuracy", "who/f1", "about/f1_micro", "stars/spearman")
    assert {f"test/{name}" for name in main} <= set(metrics)
    (answer,) = load(run).predict("a great film")
    assert set(answer) == {"text", *TASKS}


def test_without_it_a_missing_label_is_a_bad_row(run: Path) -> None:
    done = called(
        "train",
        "--config-dir",
        str(run.parent / "conf"),
        "tasks=none",
        "+task@tasks.mood=one_mood",
        "tasks.mood.missing_labels=error",
        f"hydra.run.dir={run.parent / 'other'}",
    )
    assert done.status == 2
    assert "row 1 (counted from 0; line 2): wrong type: None" in done.message


def test_evaluate_leaves_the_same_rows_out(run: Path) -> None:
    done = called("evaluate", f"bundle={run}", f"output={run.parent / 'again'}")
    assert done.status == 0, done.err
    again = json.loads((run.parent / "again" / "metrics.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    assert again == pytest.approx({key: metrics[key] for key in again}, abs=1e-4)
