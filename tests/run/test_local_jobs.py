"""Trials of a sweep at the same time, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from candelabra.run import capacity, local_jobs, preloaded
from helpers.command_line import Done, called
from helpers.stand_in_trials import Trials, table

TWO = "hydra.launcher.n_jobs=2"
OTHER = "hydra.sweep.dir=other"
PRINTED = "a trial prints this"


@pytest.fixture(autouse=True)
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Trials(tmp_path / "site", monkeypatch)


def swept(*overrides: str) -> Done:
    return called("train", "-m", "hydra.sweep.dir=s", *overrides)


def status(number: int) -> str:
    found = json.loads(Path("s", str(number), "run.json").read_text())["status"]
    assert isinstance(found, str)
    return found


def test_two_trials_run_at_the_same_time() -> None:
    done = swept(TWO, "seed=8,9")
    assert (done.status, done.err) == (0, "")
    assert [row["val/score"] for row in table(Path("s"))] == ["0.4", "0.3"]
    lines = [line for line in done.out.splitlines() if line.startswith("trial ")]
    assert len(lines) == 2
    assert lines[0].split(" after ")[1].endswith(("val/score 0.3000 (seed=8)", "0.4000 (seed=9)"))


def test_a_configuration_larger_than_a_pipe_holds_up_no_trial() -> None:
    labels = ",".join(f"label_{number}_{'x' * 5000}" for number in range(20))
    done = swept(TWO, "seed=8,9", f"tasks.sentiment.labels=[{labels}]")
    assert (done.status, done.err) == (0, "")
    assert len(table(Path("s"))) == 2


def test_a_job_that_is_killed_leaves_no_answer_to_the_next_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = preloaded.Preloaded._answer

    def dies_once(self: preloaded.Preloaded) -> dict[str, Any]:
        try:
            (tmp_path / "died").touch(exist_ok=False)
        except FileExistsError:
            return answer(self)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(preloaded.Preloaded, "_answer", dies_once)
    assert swept(TWO, "seed=3", "batch_size=8,9,10,11").status == 1
    errors = [row["error"] for row in table(Path("s")) if row["status"] == "failed"]
    assert errors == ["exit status -9"] * 3


def test_no_more_trials_run_than_the_measured_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, running, most = local_jobs.LocalJobs, [0], [0]
    init, start, result = jobs.__init__, jobs._start, jobs._result

    def measured(self: Any, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        self._largest_gb = 4.0

    def counted(*given: Any) -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        return start(*given)

    def ended(*given: Any) -> Any:
        running[0] -= 1
        return result(*given)

    monkeypatch.setattr(local_jobs, "free_gib", lambda: 10.0)
    monkeypatch.setattr(jobs, "at_once", lambda *_: 3)
    monkeypatch.setattr(jobs, "__init__", measured)
    monkeypatch.setattr(jobs, "_start", counted)
    monkeypatch.setattr(jobs, "_result", ended)
    assert swept("seed=1,2,6").status == 0
    assert most == [2], "10 GiB hold two trials of 4 GiB, and no third"


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_result_is_the_same_however_many_run_at_a_time(n_jobs: int, trials: Trials) -> None:
    words = [f"hydra.launcher.n_jobs={n_jobs}", "seed=1,3,4,2", "freeze=none"]
    assert swept(*words).status == 1
    rows = table(Path("s"))
    assert [row["overrides"].split()[0] for row in rows] == ["seed=2", "seed=1", "seed=3", "seed=4"]
    assert [row["error"] for row in rows] == ["", "", "exit status -9", "exit status 3"]
    assert [status(number) for number in range(4)] == ["finished", "failed", "failed", "finished"]
    assert len(trials.commands) == 4
    assert swept(*words).status == 1
    assert len(trials.commands) == 6


def test_what_trials_print_is_in_files_only_if_several_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert swept("hydra.launcher.n_jobs=1", "seed=1,2").status == 0
    assert capfd.readouterr().out.count(PRINTED) == 2
    done = swept(TWO, "seed=1,4", OTHER)
    assert PRINTED not in capfd.readouterr().out
    assert Path("other", "0", "output.log").read_text().splitlines() == [PRINTED]
    assert "(seed=4): exit status 3 (what it printed: output.log)\n" in done.out


@pytest.mark.parametrize(("given", "expected"), [(None, "4"), ("3", "3")])
def test_cores_are_divided(
    given: str | None, expected: str, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_jobs, "num_cores", lambda: 8)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert swept(TWO, "seed=1,2").status == 0
    assert trials.threads == [expected, expected]


def test_one_at_a_time_has_all_cores(trials: Trials) -> None:
    assert swept("hydra.launcher.n_jobs=1", "seed=1,2").status == 0
    assert swept(TWO, "seed=6", OTHER).status == 0
    assert trials.threads == ["", "", ""]


@pytest.mark.parametrize("seeds", ["10,11", "10,11,1"])  # three make the processes that fork
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ends_the_sweep_lets_every_trial_save(
    number: signal.Signals, expected: int, seeds: str, trials: Trials
) -> None:
    command = [sys.executable, "-m", "candelabra", "train", "-m", "hydra.sweep.dir=s", TWO]
    with subprocess.Popen([*command, f"seed={seeds}"], stdout=subprocess.PIPE, text=True) as sweep:
        trials.wait_for(2)
        os.kill(sweep.pid, number)
        out, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == expected
    assert [status(number) for number in (0, 1)] == ["interrupted", "interrupted"]
    assert len(trials.commands) == 2
    assert out.count("interrupted") == 2


def test_a_dead_process_of_a_trial_stops_no_other(trials: Trials) -> None:
    done = swept(TWO, "seed=5,1")
    assert done.status == 1
    assert "error: the launcher gave up: RuntimeError: the process of a trial has ended" in done.err
    assert {row["overrides"]: row["status"] for row in table(Path("s"))} == {
        "seed=5": "running",
        "seed=1": "finished",
    }


def test_a_dead_process_with_the_libraries_fails_its_trial_only() -> None:
    assert swept(TWO, "seed=5,1,2,6").status == 1
    assert [status(number) for number in range(4)] == ["failed", "finished", "finished", "pruned"]


def test_a_trial_that_needs_all_memory_runs_alone(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trials of the second sweep would meet if they ran at the same time."""
    monkeypatch.setattr(capacity, "num_cores", lambda: 2)
    monkeypatch.setattr(capacity, "free_gib", lambda: 5.0)
    assert swept("hydra.launcher.memory_gb=3", "trainer=cpu", "seed=1,2").status == 0
    assert not list(Path("s").glob("*/output.log"))
    assert swept("hydra.launcher.memory_gb=2", "trainer=cpu", "seed=8,9", OTHER).status == 0
    assert len(list(Path("other").glob("*/output.log"))) == 2


def test_a_later_trial_of_several_processes_counts(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "num_cores", lambda: 2)
    monkeypatch.setattr(capacity, "free_gib", lambda: 5.0)
    swept("hydra.launcher.memory_gb=2", "trainer=cpu,ddp_cpu", "seed=1")
    assert len(trials.commands) == 2
    assert not list(Path("s").glob("*/output.log")), "they ran at the same time"


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "cpu", "devices": 1, "num_nodes": 1}, 3),
        ({"accelerator": "cpu", "devices": 2, "num_nodes": 1}, 1),
        ({"accelerator": "gpu", "devices": 1, "num_nodes": 1}, 1),
        ({"accelerator": "cpu", "devices": 1, "num_nodes": 2}, 1),
    ],
)
def test_cores_memory_and_device_limit_the_trials(
    trainer: dict[str, object], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "num_cores", lambda: 4)
    monkeypatch.setattr(capacity, "free_gib", lambda: 10.0)
    assert capacity.fitting_at_once(trainer, 3.0) == expected
    assert capacity.fitting_at_once(trainer, 11.0) == 1


def test_container_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    unlimited = capacity.num_cores(), capacity.free_gib()
    assert unlimited[0] >= 1
    assert unlimited[1] > 0
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert capacity.num_cores() == unlimited[0]
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**29}\n")
    (tmp_path / "memory.current").write_text(f"{2**28}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**27}\n")
    assert capacity.num_cores() == 1
    assert capacity.free_gib() == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("n_jobs=0", "hydra.launcher.n_jobs must be a whole number of at least 1, got 0"),
        ("n_jobs=many", "hydra.launcher.n_jobs must be a whole number of at least 1, got 'many'"),
        ("memory_gb=0", "hydra.launcher.memory_gb must be a number above 0, got 0"),
    ],
)
def test_wrong_settings_are_one_message(word: str, message: str) -> None:
    done = swept(f"hydra.launcher.{word}", "seed=1,2")
    assert (done.status, done.message) == (2, message)
