"""A study that is killed and continued ends like one that is left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.command_line import SOURCE, started

STUDY = ["study", "encoder=tiny", "logger=csv", "callbacks=default", "trainer.max_epochs=1"]
STUDY += ["trainer.limit_train_batches=4", "seeds=2", "~study.arms.lora_per_task"]
STUDY += ["~callbacks.gradients", "output=page"]
SECONDS = 300


def killed_after(folder: Path, num_runs: int) -> None:
    """Start the study, and kill it and its trials once this many runs are finished."""
    command = [sys.executable, "-m", "candelabra", *STUDY]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + SECONDS
        while len(list(folder.glob("**/runs/*/metrics.json"))) < num_runs:
            assert process.poll() is None, "the study ended before it was killed"
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_study_killed_twice_gives_the_same_answer(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    assert started(*STUDY, folder=alone).status == 0
    for num_runs in (1, 3):
        killed_after(killed, num_runs)
        assert not (killed / "page" / "study.json").exists()
    assert started(*STUDY, folder=killed).status == 0
    found = [json.loads((folder / "page" / "study.json").read_text()) for folder in (alone, killed)]
    assert found[0] == found[1]
    assert found[1]["test_reads"] == 1
