from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from candelabra.run.sweep import Sweep, run_overrides
from candelabra.run.sweep_progress import SweepProgress

METRICS = "epoch,step,train/loss,val/score\n0,1,2.0,\n0,2,,0.25\n1,4,,0.75\n1,6,1.0,\n1,8,.5,0.5"


def begin(sweep: Path, number: int, **record: object) -> Path:
    """Write what a trial writes."""
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    words = [f"seed={number}"]
    Sweep().begin(number, folder, words)
    record["overrides"] = run_overrides(folder, words)
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def progress(tmp_path: Path) -> SweepProgress:
    Sweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    return SweepProgress([[f"seed={number}", "freeze=none"] for number in range(4)], 0)


def shown(progress: SweepProgress) -> list[list[str]]:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(progress.table())
    lines = console.export_text().splitlines()
    return [line.replace("│", "").split() for line in lines if line.startswith("│")]


def test_table_has_a_row_for_each_trial(progress: SweepProgress, tmp_path: Path) -> None:
    for number in (0, 1):
        progress.begin(number)
    folder = begin(tmp_path, 1, status="running")
    # The last line is still written.
    (folder / "metrics.csv").write_text(METRICS)
    starting, running, *waiting = shown(progress)
    assert starting[:2] == ["0", "starting"]
    assert running[:5] == ["1", "running", "1", "6", "0.7500"]
    assert running[-1] == "seed=1"  # without what all trials share
    assert waiting == [["2", "waiting", "-", "seed=2"], ["3", "waiting", "-", "seed=3"]]


def test_end_of_a_trial_is_a_line(
    progress: SweepProgress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.begin(0)
    progress.begin(1)
    folder = begin(tmp_path, 0, status="finished")
    (folder / "metrics.json").write_text('{"val/score": 0.8}')
    begin(tmp_path, 1, status="failed", error="exit status 3")
    progress.end(0)
    progress.end(1)
    assert capsys.readouterr().out.splitlines() == [
        "trial 0 finished after 0 s, val/score 0.8000 (seed=0)",
        "trial 1 failed after 0 s (seed=1): exit status 3",
    ]
    assert [row[1] for row in shown(progress)] == ["finished", "failed", "waiting", "waiting"]


def test_what_a_search_chooses_is_shown_even_if_a_batch_shares_it(tmp_path: Path) -> None:
    trials = [["pooling=mean", "lr=0.1", "freeze=none"], ["pooling=mean", "lr=0.2", "freeze=none"]]
    for swept, expected in (((), "lr=0.1"), (("pooling", "lr"), "pooling=mean lr=0.1")):
        Sweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
        assert " ".join(shown(SweepProgress(trials, 0, swept))[0]) == f"0 waiting - {expected}"


def test_running_trials_are_shown_before_others(
    progress: SweepProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "10")
    small = SweepProgress([[f"seed={number}"] for number in range(9)], 0)
    for number in range(4):
        small.begin(number)
    small.end(0)
    small.end(1)
    assert [row[0] for row in shown(small)] == ["2", "3"]
