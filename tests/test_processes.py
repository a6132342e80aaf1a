"""Several processes of one command: small programs stand in for a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from candelabra import processes
from candelabra.processes import LAUNCHED, launch, processes_of, rank, started_from_outside

ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", LAUNCHED)
SAY = """
import json, os, pathlib
keys = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT OMP_NUM_THREADS".split()
pathlib.Path(os.environ["RANK"]).write_text(json.dumps([os.environ.get(key) for key in keys]))
"""
WAIT = """
import os, pathlib, time
pathlib.Path(os.environ["RANK"] + ".pid").write_text(str(os.getpid()))
time.sleep(60)
"""
ENDS_WITH_ITS_PARENT = "from candelabra.processes import end_with_the_parent\nend_with_the_parent()"
CATCH = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: {})\n"
PARENT = "import sys\nfrom candelabra.processes import launch\nsys.exit(launch(sys.argv[1:], 2))"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def python(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(lines)]


def in_rank(number: int, line: str) -> str:
    """The line, in one process, when the first has begun to wait."""
    begin = f"import os, sys\nif os.environ['RANK'] == '{number}':"
    return f"{begin}\n  while not os.path.exists('0.pid'): pass\n  {line}"


def pids(folder: Path) -> list[int]:
    """Of both processes, once they run."""
    files = [folder / f"{number}.pid" for number in range(2)]
    end = time.monotonic() + 30
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(file.read_text()) for file in files]


def assert_gone(found: list[int], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while any(map(alive, found)):
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_each_process_knows_its_place(tmp_path: Path) -> None:
    assert launch(python(SAY), 3) == 0
    said = [json.loads((tmp_path / str(number)).read_text()) for number in range(3)]
    port = said[0][4]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 3)))
    for number, found in enumerate(said):
        assert found == [str(number), str(number), "3", "127.0.0.1", port, threads]


@pytest.mark.parametrize(
    ("line", "status"),
    [("sys.exit(5)", 5), ("os.kill(os.getpid(), 9)", 137), ("raise KeyError", 1)],
)
def test_one_that_fails_ends_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, status: int
) -> None:
    begun = time.monotonic()
    assert launch(python(in_rank(1, line), WAIT), 2) == status
    assert time.monotonic() - begun < 20
    said = "process 1 of 2 (counted from 0) died of SIGKILL" in capfd.readouterr().err
    assert said == (status == 137)
    assert_gone([int((tmp_path / "0.pid").read_text())])


def test_one_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.3)
    assert launch(python(CATCH, in_rank(1, "sys.exit(5)"), WAIT), 2) == 5
    assert_gone([int((tmp_path / "0.pid").read_text())])


def parent(*lines: str) -> subprocess.Popen[bytes]:
    """A process that launches two."""
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen([*python(PARENT), *python(*lines)], env=environment)


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_reaches_all(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    leave = f"import signal, sys\nsignal.signal({int(sent)}, lambda *_: sys.exit({status}))"
    process = parent(leave, WAIT)
    found = pids(tmp_path)
    process.send_signal(sent)
    assert process.wait(20) == status
    assert_gone(found)


def test_a_hang_up_that_nohup_ignores_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signal.SIGHUP in processes.ending_signals()
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    assert processes.ending_signals() == [signal.SIGINT, signal.SIGTERM]


def test_a_killed_parent_takes_all_along(tmp_path: Path) -> None:
    process = parent(ENDS_WITH_ITS_PARENT, WAIT)
    found = pids(tmp_path)
    process.kill()
    process.wait()
    assert_gone(found)


def test_modules_of_the_working_folder_are_not_taken(tmp_path: Path) -> None:
    """A resumed run names its working folder, and may come from a stranger."""
    (tmp_path / "this.py").write_text("import pathlib\npathlib.Path('canary').touch()")
    assert launch(python("import this"), 2) == 0
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "cpu", "devices": 1}, 1),
        ({"accelerator": "cpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": "2"}, 2),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "gpu", "devices": [0, 2, 3]}, 3),
        ({"accelerator": "gpu", "devices": "auto"}, 4),
        ({"accelerator": "gpu", "devices": -1}, 4),
        ({"accelerator": "gpu", "devices": "-1"}, 4),
        ({"accelerator": "gpu", "devices": "0,2"}, 2),
    ],
)
def test_processes_of(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any], expected: int
) -> None:
    import torch

    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    assert processes_of(trainer) == expected
    monkeypatch.setenv(LAUNCHED, "1")
    assert processes_of(trainer) == 1


def test_processes_started_from_outside_start_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (rank(), started_from_outside()) == (0, False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert not started_from_outside()  # in a SLURM job, but not by srun
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert (rank(), started_from_outside()) == (3, True)
    assert processes_of({"accelerator": "cpu", "devices": 2}) == 1
    monkeypatch.setenv("RANK", "1")  # torchrun's, inside a job
    assert rank() == 1
    monkeypatch.setenv(LAUNCHED, "1")
    assert not started_from_outside()
