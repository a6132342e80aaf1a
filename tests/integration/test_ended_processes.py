"""Several processes of one training: a signal, a kill or a frozen process ends all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from helpers.command_line import SOURCE

WORDS = ["encoder=tiny", "trainer=ddp_cpu", "logger=csv", "callbacks=plain", "hydra.run.dir=run"]
WORDS += ["trainer.max_epochs=1000", "trainer.check_val_every_n_epoch=1000"]
SECONDS = 300


@contextmanager
def training(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A training on two processes that has begun, and the ids of the two."""
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "candelabra", "train", *WORDS, *words]
    with (
        (folder / "err").open("w") as err,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=err, stderr=err, start_new_session=True
        ) as process,
    ):
        try:
            end = time.monotonic() + SECONDS
            while not (folder / "run" / "metrics.csv").is_file():
                assert process.poll() is None, (folder / "err").read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
            ranks = {
                child.environ()["RANK"]: child.pid
                for child in psutil.Process(process.pid).children()
                if "RANK" in child.environ()
            }
            yield process, [ranks["0"], ranks["1"]]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "to_all", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGHUP, True, 129)],
)
def test_a_signal_ends_all_without_a_traceback(
    tmp_path: Path, sent: signal.Signals, to_all: bool, status: int
) -> None:
    """A terminal sends its signals to all processes at once."""
    with training(tmp_path) as (process, _):
        (os.killpg if to_all else os.kill)(process.pid, sent)
        assert process.wait(SECONDS) == status
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    assert f"{sent.name}: ended after step" in said
    assert (tmp_path / "run" / "checkpoints" / "resume.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "sent"), [(0, signal.SIGKILL), (1, signal.SIGSEGV)])
def test_a_killed_process_is_named(tmp_path: Path, rank: int, sent: signal.Signals) -> None:
    with training(tmp_path) as (process, ranks):
        os.kill(ranks[rank], sent)
        assert process.wait(SECONDS) == 128 + sent
    said = (tmp_path / "err").read_text()
    assert f"process {rank} of 2 (counted from 0) died of {sent.name}" in said
    assert "Traceback" not in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", f"a process died of {sent.name}")


@pytest.mark.slow
def test_a_frozen_process_ends_the_run(tmp_path: Path) -> None:
    with training(tmp_path, "trainer.strategy.timeout.minutes=0.5") as (process, ranks):
        os.kill(ranks[1], signal.SIGSTOP)
        assert process.wait(SECONDS) not in (0, None)
        assert not psutil.pid_exists(ranks[1])
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    assert "another process of this run has died or does not answer" in said
