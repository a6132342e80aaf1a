from __future__ import annotations

import io
import sys

import pytest
from rich.table import Table

from candelabra import tables
from candelabra.run.tables import model_table
from helpers.rendering import render, row
from helpers.toys import toy_model

METRICS = {
    "val/mood/accuracy": 0.9,
    "val/who/f1": 0.5,
    "val/who/f1/Actor": 0.4,
    "val/score": 0.7,
    "test/mood/accuracy": 0.8,
    "test/who/f1": 0.25,
    "test/who/precision/Actor": 0.2,
    "test/who/recall/Actor": 0.1,
    "test/who/f1/Actor": 0.125,
    "test/who/support/Actor": 7.0,
    "test/who/f1/Year": 1.0,
    "test/who/support/Year": 30.0,
    "test/score": 0.525,
    "train/loss": 3.0,
}


def test_a_run_without_scores_has_no_table_of_them() -> None:
    assert tables.result_tables({"train/loss": 3.0}) == []
    assert len(tables.result_tables({"val/mood/accuracy": 0.9, "val/score": 0.9})) == 1


def test_headline_metrics() -> None:
    lines = render(tables.metrics_table(METRICS, title="results"))
    assert lines[0] == ["results"]
    assert row(lines, "task") == ["metric", "validation", "test"]
    assert row(lines, "mood") == ["accuracy", "0.9000", "0.8000"]
    assert row(lines, "who") == ["f1", "0.5000", "0.2500"]
    assert row(lines, "all") == ["score", "0.7000", "0.5250"]
    assert not [line for line in lines if "Actor" in " ".join(line) or "loss" in line]


def test_a_split_without_metrics_has_no_column() -> None:
    lines = render(tables.metrics_table({"val/mood/accuracy": 0.9, "val/score": 0.9}, title="x"))
    assert row(lines, "task") == ["metric", "validation"]


def test_a_task_without_a_test_split() -> None:
    metrics = {key: value for key, value in METRICS.items() if not key.startswith("test/who")}
    assert row(render(tables.metrics_table(metrics, title="x")), "who") == ["f1", "0.5000", "-"]


def test_entity_types_by_support() -> None:
    (table,) = tables.types_tables(METRICS, "test")
    lines = render(table)
    assert lines[0] == ["who:", "entity", "types,", "test"]
    assert row(lines, "Year") == ["-", "-", "1.0000", "30"]
    assert row(lines, "Actor") == ["0.2000", "0.1000", "0.1250", "7"]
    names = [line[0] for line in lines]
    assert names.index("Year") < names.index("Actor")


def test_an_entity_type_may_hold_a_slash() -> None:
    lines = render(*tables.types_tables({"val/who/f1/Title/Part": 0.5}, "val"))
    assert row(lines, "Title/Part") == ["-", "-", "0.5000", "0"]


@pytest.mark.parametrize(("split", "title"), [("test", "test"), ("val", "val")])
def test_the_end_shows_types_of_the_last_split(split: str, title: str) -> None:
    metrics = {k: v for k, v in METRICS.items() if split == "test" or not k.startswith("test/")}
    titles = [str(table.title) for table in tables.result_tables(metrics)]
    assert titles == [f"who: entity types, {title}", "results"]


def test_the_attention_is_named() -> None:
    model = toy_model()
    found = [" ".join(render(model_table(model, device=device))[-1]) for device in ("cpu", "cuda")]
    assert found == [f"attention in training: {name}" for name in ("blocks", "sdpa")]


def test_show_writes_a_long_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "run folder: /" + "x" * 300
    tables.show(Table("wide", title="t"), path)
    assert path in capsys.readouterr().out.splitlines()


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """In an entity type or a path they must stay, and break nothing."""
    (types,) = tables.types_tables({"val/who/f1/[bold]": 0.5}, "val")
    assert row(render(types), "[bold]") == ["-", "-", "0.5000", "0"]
    tables.show(types, "run folder: /a[/b]:smile:")
    assert "run folder: /a[/b]:smile:" in capsys.readouterr().out.splitlines()


def test_the_train_split_is_shown_on_demand() -> None:
    metrics = {"train/mood/accuracy": 0.75, "train/score": 0.75}
    table = tables.metrics_table(metrics, title="bundle: train", splits=["train"])
    assert [column.header for column in table.columns] == ["task", "metric", "train"]
    assert [list(column.cells) for column in table.columns][2] == ["0.7500", "0.7500"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_a_minute_tells_the_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds = iter(range(0, 10_000, 25))
    with tables.Progress("embedding", total=2000, clock=lambda: next(seconds)) as progress:
        for _ in range(4):
            progress.advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["embedding: 1,500 of 2,000 in 2 min"]


def test_on_a_terminal_a_bar_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is printed meanwhile goes where it was going."""
    out, err = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with tables.Progress("predicting") as progress:
        progress.update(10, total=40)
        print("an answer")
    assert "predicting" in err.getvalue()
    assert "25%" in err.getvalue()
    assert out.getvalue() == "an answer\n"
