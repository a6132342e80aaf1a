"""The table at the end of a sweep."""

from __future__ import annotations

from candelabra.run.sweep import ranked, sweep_table
from helpers.rendering import render, row


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


def test_brackets_are_no_markup() -> None:
    """In a message or an override they must stay, and break nothing."""
    error = "ValueError('found [/red] and [bold]')"
    failed = {**run("f[i]", None, status="failed", error=error), "overrides": ["tags=[red]"]}
    lines = render(sweep_table([failed], title="s"))
    assert row(lines, "-", "-", "tags=[red]", "failed:") == [*error.split(), "f[i]"]
