from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from candelabra.data.loading import texts_fingerprint
from candelabra.errors import DataError
from candelabra.evaluation.comparison import Comparison, check_same_texts, compare_models
from candelabra.files import write_jsonl
from candelabra.records import Examples
from candelabra.tables import short_names

KEY = "test/mood/accuracy"


def folder(root: Path, name: str, said: str, *, labels: str = "AABB") -> Path:
    rows = [
        {"row": row, "label": label, "prediction": {"label": one}}
        for row, (label, one) in enumerate(zip(labels, said, strict=True))
    ]
    write_jsonl(root / name / "mood.jsonl", rows)
    return root / name


def comparison(root: Path, *, second: float = 0.75, labels: str = "AABB") -> Comparison:
    metrics = {
        "a/run": {KEY: 0.5, "test/mood/f1_macro": 0.4, "test/score": 0.5},
        "b/run": {KEY: second, "test/score": second},
    }
    folders = [folder(root, "a", "ABAB"), folder(root, "b", "AABA", labels=labels)]
    return compare_models(
        metrics, dict(zip(metrics, folders, strict=True)), {"mood": KEY}, resamples=50, seed=0
    )


def test_the_table_shows_what_is_there(tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(comparison(tmp_path).table(title="test"))
    text = console.export_text()
    rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[:4] for row in cells] == [
        ["mood", "accuracy", "0.5000", "0.7500"],
        ["mood", "f1_macro", "0.4000", "-"],
        ["all", "score", "0.5000", "0.7500"],
    ]
    assert cells[0][4].startswith("+0.2500 [")
    assert cells[0][4].endswith("p 1.000")
    assert cells[1][4] == "-"
    assert "b/run - a/run" in text
    assert "McNemar" in text


def test_rows_that_do_not_give_the_metric_tell_nothing(tmp_path: Path) -> None:
    assert comparison(tmp_path, second=0.7).differences == {}


def test_other_labels_are_other_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task 'mood': a/run was evaluated on row 3 \('B'\) where"):
        comparison(tmp_path, labels="AABA")


def test_other_texts_are_other_rows() -> None:
    pairs = Examples((["a", "b"], ["c", "d"]), [1.0, 1.0], None, [0, 1])
    same = replace(pairs, labels=["x", "y"])
    other = replace(pairs, texts=(["a", "b"], ["c", "e"]))
    asked = [{"alike": texts_fingerprint(each)} for each in (pairs, same, other)]
    check_same_texts({"tiny": asked[0], "run": asked[1]})
    with pytest.raises(DataError, match="task 'alike': tiny was evaluated on other texts than run"):
        check_same_texts({"tiny": asked[0], "x": asked[1], "run": asked[2]})


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["x/a", "x/b"], ["a", "b"]),
        (["x/a/bundle", "y/a/bundle", "y/b/bundle"], ["x/a/bundle", "y/a/bundle", "y/b/bundle"]),
        (["r/x/a/run", "r/y/a/run"], ["x/a/run", "y/a/run"]),
        (["run", "run/bundle"], ["run", "bundle"]),
    ],
)
def test_names_are_as_short_as_can_be(models: list[str], names: list[str]) -> None:
    assert short_names(models) == names


def test_a_line_separator_in_a_label_ends_no_line(tmp_path: Path) -> None:
    folders = [folder(tmp_path, name, "ABAB", labels="A\u2028\x85B") for name in ("a", "b")]
    models = dict(zip(("a/run", "b/run"), folders, strict=True))
    metrics = {name: {KEY: 0.5} for name in models}
    found = compare_models(metrics, models, {"mood": KEY}, resamples=50, seed=0)
    assert list(found.differences[KEY]) == ["b/run"]
