from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from candelabra.config.grammar import quoted
from candelabra.run import trial
from helpers.command_line import called
from helpers.ended import running
from helpers.stand_in_trials import Trials, table


@pytest.fixture(autouse=True)
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.chdir(tmp_path)
    return Trials(tmp_path / "site", monkeypatch)


def record(number: int) -> dict[str, object]:
    found = json.loads(Path("s", str(number), "run.json").read_text())
    assert isinstance(found, dict)
    return found


def swept(*overrides: str) -> int:
    return called("train", "-m", "hydra.sweep.dir=s", *overrides).status


def test_finished_trials_are_skipped(trials: Trials) -> None:
    assert swept("seed=1,2") == 0
    assert swept("seed=1,2") == 0
    assert len(trials.commands) == 2


def test_a_sweep_that_would_replace_a_finished_run_is_refused(trials: Trials) -> None:
    assert swept("seed=1,2") == 0
    before = {file: file.read_bytes() for file in Path("s").rglob("*") if file.is_file()}
    done = called("train", "-m", "hydra.sweep.dir=s", "seed=2,1")
    assert done.status == 2
    assert f"{Path('s').absolute()}: 0 has a run with other settings: name another" in done.message
    after = {file: file.read_bytes() for file in Path("s").rglob("*") if file.is_file()}
    del before[Path("s/multirun.yaml")], after[Path("s/multirun.yaml")]  # Hydra's sweeper writes it
    assert after == before
    assert len(trials.commands) == 2


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_a_trial_that_would_replace_another_run_fails(trials: Trials, status: str) -> None:
    """Where folders are not named by numbers."""
    named = "hydra.sweep.subdir=trial_${hydra:job.num}"
    assert swept("seed=1", named) == 0
    (Path("s") / "trial_0").rename("s/0")
    stop(status)
    Path("s/0").rename("s/trial_0")
    before = Path("s/trial_0/run.json").read_bytes()
    assert swept("seed=1", "batch_size=4", named) == 1
    (row,) = table(Path("s"))
    assert (row["status"], row["val/score"]) == ("failed", "")
    assert "its folder has a run with other settings: name another hydra.sweep.dir" in row["error"]
    assert Path("s/trial_0/run.json").read_bytes() == before
    assert len(trials.commands) == 1


def test_a_group_of_the_user_replaces_that_of_the_sweep(trials: Trials) -> None:
    assert swept("seed=1", "group=mine") == 0
    (command,) = trials.commands
    assert [word for word in command if word.startswith("group=")] == ["group=mine"]


def test_wrong_trial_is_a_failed_one(trials: Trials) -> None:
    assert swept("seed=2", "freeze=none,head") == 1
    assert len(trials.commands) == 1
    good, bad = table(Path("s"))
    assert (good["status"], bad["status"]) == ("finished", "failed")
    assert "freeze.head must be given" in bad["error"]
    assert record(1)["status"] == "failed"


def test_own_yamls_go_on_to_the_trials(trials: Trials, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    yaml = "defaults: [sample_reviews@_here_, _self_]\nlimit: {train: 50}\n"
    (tmp_path / "mine" / "task" / "few.yaml").write_text(yaml)
    assert swept("--config-dir", "mine", "task@tasks.sentiment=few", "seed=1,2") == 0
    for command in trials.commands:
        assert command[-2:] == ["--config-dir", str(tmp_path / "mine")]


def test_killed_trial_says_so() -> None:
    assert swept("seed=3,4") == 1
    assert [record(number)["status"] for number in (0, 1)] == ["failed", "failed"]
    assert [record(number)["error"] for number in (0, 1)] == ["exit status -9", "exit status 3"]


def test_record_of_an_earlier_run_is_not_taken_for_this_ones() -> None:
    assert swept("seed=3") == 1
    assert record(0)["error"] == "exit status -9"
    assert swept("seed=4") == 1
    assert (record(0)["status"], record(0)["error"]) == ("failed", "exit status 3")


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_stopped_trial_goes_on_from_its_checkpoint(trials: Trials, status: str) -> None:
    words = ["seed=1", "group=${oc.env:HOME}"]
    assert swept(*words) == 0
    (before,) = trials.commands
    stop(status)
    assert swept(*words) == 0
    resumed = trials.commands[-1]
    assert resumed[0] == f"resume={Path('s').absolute() / '0'}"
    assert resumed[1:] == [word for word in before if word.startswith(("seed=", "group="))]
    assert record(0)["status"] == "finished"


def test_a_trial_whose_resumption_was_refused_is_resumed_later(trials: Trials) -> None:
    """As where the data were not there for a moment, after a machine was lost."""
    assert swept("seed=1") == 0
    stop("running")
    results = trials.folder / "results"
    right = results.read_text()
    results.write_text(json.dumps({"1": ("not started", 0.9)}))
    assert swept("seed=1") == 1
    assert (record(0)["status"], record(0)["error"]) == ("interrupted", "exit status 3")
    results.write_text(right)
    assert swept("seed=1") == 0
    assert trials.commands[-1][0] == f"resume={Path('s').absolute() / '0'}"
    assert record(0)["status"] == "finished"


def stop(status: str, checkpoint: bool = True) -> None:
    """Makes a run of the sweep's first trial look like one that did not end."""
    file = Path("s", "0", "run.json")
    file.write_text(json.dumps(record(0) | {"status": status}))
    if checkpoint:
        (file.parent / "checkpoints").mkdir()
        (file.parent / "checkpoints" / "resume.ckpt").touch()


def test_without_a_checkpoint_or_after_a_failure_it_starts_anew(trials: Trials) -> None:
    swept("seed=3")
    swept("seed=3")  # was killed: what killed it may be in its checkpoint
    swept("seed=1")
    stop("interrupted", checkpoint=False)
    swept("seed=1", "batch_size=16")
    assert not [word for command in trials.commands for word in command if "resume=" in word]
    assert len(trials.commands) == 4


def test_a_trial_that_still_runs_is_left_alone(trials: Trials) -> None:
    """As where its sweep alone was killed."""
    swept("seed=1")
    stop("running")
    before = Path("s", "0", "run.json").read_bytes()
    with running("s/0") as (process, _):
        done = called("train", "-m", "seed=1", "hydra.sweep.dir=s")
    assert done.status == 1
    assert f"still trained, as process {process} on" in done.err
    assert Path("s", "0", "run.json").read_bytes() == before
    assert len(trials.commands) == 1


def test_what_starts_anew_stays_a_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "given_config_dirs", list)
    (tmp_path / "run.json").write_text('{"run_id": "r", "status": "failed", "overrides": []}')
    place = f"hydra.run.dir={quoted(str(tmp_path))}"
    assert trial._words(tmp_path, ["seed=1"]) == ["seed=1", place]
    assert json.loads((tmp_path / "run.json").read_text()) == {"run_id": "r"}


def test_score_reaches_the_sweeper() -> None:
    log = "+hydra.callbacks.log._target_=hydra.experimental.callbacks.LogJobReturnCallback"
    assert swept("seed=2,3", log) == 1
    logs = [Path("s", name, "run.log").read_text() for name in ("0", "1")]
    assert "Succeeded with return value: 0.7" in logs[0]
    assert "Succeeded with return value: None" in logs[1]


def test_what_stops_the_sweep_tells_the_trial_to_end() -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    outer = (
        "import signal, sys; from candelabra.run.trial import _process\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(1))\n"
        f"_process([sys.executable, '-c', {code!r}])"
    )
    command = [sys.executable, "-c", outer]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        assert sweep.stdout.readline() == "ready\n"
        os.kill(sweep.pid, signal.SIGUSR1)
        assert sweep.stdout.read() == "saved\n"
