"""W&B runs as `wandb leet inspect` reads them, and the end of its service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from candelabra.training.loggers.wandb_tracker import WandbTracker

Make = Callable[..., WandbTracker]


def inspect(folder: Path, *options: str) -> str:
    """What `wandb leet inspect` prints of a run's folder."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(inspect(folder, "--summary"))


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in inspect(folder).splitlines()]
    return [row[kind] for row in rows if row["type"] == kind]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.name.startswith("candelabra.training.loggers.wandb_")
    ]


def services() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [process for process in children if process.name().startswith("wandb")]


def kill_service() -> None:
    for process in services():
        process.kill()
        process.wait()


def freeze_service() -> None:
    for process in services():
        process.suspend()
