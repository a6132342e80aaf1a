from __future__ import annotations

import io
import sys
from functools import partial
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from candelabra import tables
from candelabra.data.loading import TaskData
from candelabra.data.mixing.balancing import equal, ratios
from candelabra.data.mixing.steps import alternate
from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual
from candelabra.model.pooling import AttentionPooling
from candelabra.run.sweep import ranked, sweep_table
from candelabra.run.tables import model_table, tasks_table
from helpers.toys import Splits, toy_model, toy_schedule

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


def render(*tables: Table) -> list[list[str]]:
    """The words of each line."""
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    lines = [line.translate(str.maketrans("│┃", "  ")) for line in capture.get().splitlines()]
    return [words for line in lines if (words := line.split())]


def row(lines: list[list[str]], *start: str) -> list[str]:
    (found,) = [line[len(start) :] for line in lines if line[: len(start)] == list(start)]
    return found


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


def task_lines(toys: Splits, **kwargs: Any) -> list[list[str]]:
    """The table of tasks; `who` has no test split, and `mood` lost three rows."""
    data = {
        task: TaskData(
            {split: each.examples for split, each in splits.items() if (task, split) != LACKS},
            ["a", "b", "c"],
            {"train": {"empty text": 2, "wrong type": 1}} if task == "mood" else {},
            {},
        )
        for task, splits in toys.items()
    }
    return render(tasks_table(data, toy_schedule(toys, **kwargs)))


def test_what_a_step_takes(toys: Splits) -> None:
    lines = task_lines(toys)
    assert lines[0][:4] == ["data:", "8", "steps", "an"]
    assert row(lines, "task")[3:10] == ["labels", "share", "steps", "in", "a", "step", "drawn"]
    assert row(lines, "mood") == ["40", "40", "40", "3", "0.625", "8", "5", "40", "0", "0", "3"]
    assert row(lines, "who") == ["24", "24", "-", "3", "0.375", "8", "3", "24", "0", "0", "0"]


def test_what_an_epoch_repeats_and_leaves_out(toys: Splits) -> None:
    lines = task_lines(toys, shares=equal, epoch="max_size_cycle")
    assert lines[0][1] == "10"
    assert row(lines, "mood")[4:] == ["0.500", "10", "4", "40", "0", "0", "3"]
    assert row(lines, "who")[4:] == ["0.500", "10", "4", "40", "16", "0", "0"]
    lines = task_lines(toys, shares=equal, epoch="min_size")
    assert row(lines, "mood")[4:] == ["0.500", "6", "4", "24", "0", "16", "3"]


def test_tasks_that_take_turns(toys: Splits) -> None:
    """Steps that carry the task, and the most examples in one."""
    lines = task_lines(toys, step=alternate)
    assert lines[0][1] == "8"
    assert row(lines, "mood")[4:] == ["0.625", "5", "8", "40", "0", "0", "3"]
    assert row(lines, "who")[4:] == ["0.375", "3", "8", "24", "0", "0", "0"]
    lines = task_lines(
        toys, step=alternate, shares=partial(ratios, ratios={"who": 1e-9}), epoch="min_size"
    )
    assert row(lines, "who")[4:] == ["0.000", "0", "0", "0", "0", "24", "0"]


LACKS = ("who", "test")


def test_what_learns() -> None:
    model = toy_model(freezer=Freezer(FreezeEncoder()), poolings={"mood": AttentionPooling(16)})
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    lines = render(model_table(model))
    frozen = sum(p.numel() for p in model.encoder.parameters())
    assert row(lines, "encoder") == [f"{frozen:,}", "0"]
    assert row(lines, "pooling", "of", "mood") == ["288", "288"]
    assert row(lines, "head", "of", "mood") == ["34", "34"]
    assert row(lines, "head", "of", "who") == ["68", "68"]
    assert row(lines, "all") == [f"{frozen + 390:,}", "390"]
    assert not [line for line in lines if line[0] == "pooling" and line[1] != "of"]


def test_the_attention_is_named() -> None:
    model = toy_model()
    found = [" ".join(render(model_table(model, device=device))[-1]) for device in ("cpu", "cuda")]
    assert found == [f"attention in training: {name}" for name in ("blocks", "sdpa")]


def test_what_learns_later() -> None:
    model = toy_model(freezer=Freezer(Gradual(), steps_per_epoch=5))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    lines = render(model_table(model, total_steps=11))
    layer = sum(p.numel() for p in model.encoder.layers[0].parameters())
    assert row(lines, "all,", "from", "step", "5") == [f"{layer + 102:,}"]
    assert row(lines, "all,", "from", "step", "10") == [f"{2 * layer + 102:,}"]
    stem = sum(p.numel() for p in model.encoder.embeddings.parameters())
    assert row(lines, "thaws", "too", "late", "for", "this", "run") == [f"{stem:,}"]
    model.freezer.scheme = FreezeEncoder()
    assert not [line for line in render(model_table(model, 11)) if line[0] == "thaws"]


def run(folder: str, score: float | None, **extra: str) -> dict[str, object]:
    metrics = {} if score is None else {"val/score": score, "test/score": score / 2}
    return {"folder": folder, "metrics": metrics, "overrides": ["a=1"], **extra}


def test_runs_are_ranked_and_failed_ones_stand_last() -> None:
    runs = [
        run("f1", None, status="failed", error="ValueError('x')"),
        run("r1", 0.25, status="finished"),
        run("r2", 0.75, status="finished"),
        run("f2", None, status="interrupted"),
        run("r3", -0.5, status="finished"),
        run("r4", float("nan"), status="finished"),
    ]
    expected = ["r2", "r1", "r3"]
    for order in (runs, runs[::-1]):
        folders = [each["folder"] for each in ranked(order)]
        assert folders[:3] == expected
        assert set(folders[3:]) == {"f1", "f2", "r4"}
    lines = render(sweep_table(runs, title="sweep"))
    assert row(lines, "0.7500") == ["0.3750", "a=1", "finished", "r2"]
    assert ["-", "-", "a=1", "failed:", "ValueError('x')", "f1"] in lines


def test_overrides_that_all_runs_share_stand_below_the_table() -> None:
    runs = [
        {**run(f"r{seed}", 0.5, status="finished"), "overrides": ["a=[1]", f"seed={seed}", "b=2"]}
        for seed in range(2)
    ]
    lines = render(sweep_table(runs, title="sweep"))
    assert row(lines, "0.5000", "0.2500", "seed=1") == ["finished", "r1"]
    assert row(lines, "all", "with") == ["a=[1]", "b=2"]
    (line,) = [line for line in render(sweep_table(runs[:1], title="s")) if "r0" in line]
    assert line[2:5] == ["a=[1]", "seed=0", "b=2"]


def test_show_writes_a_long_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "run folder: /" + "x" * 300
    tables.show(Table("wide", title="t"), path)
    assert path in capsys.readouterr().out.splitlines()


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """In a message, an override, an entity type or a path they must stay, and break nothing."""
    error = "ValueError('found [/red] and [bold]')"
    failed = {**run("f[i]", None, status="failed", error=error), "overrides": ["tags=[red]"]}
    sweep = sweep_table([failed], title="s")
    (types,) = tables.types_tables({"val/who/f1/[bold]": 0.5}, "val")
    lines = render(sweep, types)
    assert row(lines, "-", "-", "tags=[red]", "failed:") == [*error.split(), "f[i]"]
    assert row(lines, "[bold]") == ["-", "-", "0.5000", "0"]
    tables.show(sweep, types, "run folder: /a[/b]:smile:")
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
