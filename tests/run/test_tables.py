"""The tables that a run shows before it trains."""

from __future__ import annotations

from functools import partial
from typing import Any

from candelabra.data.loading import TaskData
from candelabra.data.mixing.balancing import equal, ratios
from candelabra.data.mixing.steps import alternate
from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual
from candelabra.model.pooling import AttentionPooling
from candelabra.run.tables import model_table, tasks_table
from helpers.rendering import render, row
from helpers.toys import Splits, toy_model, toy_schedule


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
