"""Stands in for the processes of a sweep's trials, so that they take no time.

Python imports `sitecustomize` before all else: in the process of a trial it writes what a run
would, and ends that process. How it ends, the trial's `seed` says.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from helpers.command_line import SOURCE

SITE = """
import json, os, pathlib, signal, sys

HERE = pathlib.Path(__file__).parent
words = sys.orig_argv[4:]
if sys.orig_argv[1:4] == ["-m", "candelabra", "train"] and "-m" not in words:
    with (HERE / "commands").open("a") as log:
        log.write(json.dumps(words) + "\\n")
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    if "resume" in settings:
        folder = pathlib.Path(settings["resume"])
        given = json.loads((folder / "run.json").read_text())["overrides"]
        settings.update(word.split("=", 1) for word in given)
    else:
        folder = pathlib.Path(json.loads(settings["hydra.run.dir"]))
        given = words[: [word.split("=")[0] for word in words].index("hydra.run.dir")]
    end, score = json.loads((HERE / "results").read_text())[settings["seed"]]
    if end == "not started":
        os._exit(3)
    status = end if end in ("finished", "failed", "pruned") else "running"
    record = {"status": status, "overrides": given, "fit_seconds": 10 * score}
    if end == "refused":
        record |= {"status": "failed", "error": "hydra.sweeper.objectives[0] must be one of a, b"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps({"val/score": score, "val/other": 1 - score}))
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "alone":
        os.kill(os.getppid(), signal.SIGKILL)
    os._exit(int(end not in ("finished", "pruned")))
"""

RESULTS = {
    "1": ("finished", 0.2),
    "2": ("finished", 0.7),
    "3": ("killed", 0.9),
    "4": ("not started", 0.9),
    "5": ("alone", 0.9),
    "6": ("pruned", 0.1),
    "7": ("refused", 0.9),
}
"""How the trial with a seed ends, and its score.

Alone: its launcher's process is killed. Refused: it has not the metrics that its search reads.
"""


class Trials:
    """Asks what the trials were started with.

    Args:
        folder: For the stand-in; the first folder in PYTHONPATH from here on.
        monkeypatch: Takes that back.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SITE)
        (folder / "results").write_text(json.dumps(RESULTS))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), SOURCE]))

    def end(self, seed: int, how: str, score: float) -> None:
        """Let later trials with this seed end in another way."""
        results = json.loads((self.folder / "results").read_text())
        (self.folder / "results").write_text(json.dumps({**results, str(seed): (how, score)}))

    @property
    def commands(self) -> list[list[str]]:
        """The words of every trial, in the order of their starts."""
        log = self.folder / "commands"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def table(sweep: Path) -> list[dict[str, str]]:
    """The rows of a sweep's `sweep.csv`."""
    with (sweep / "sweep.csv").open() as stream:
        return list(csv.DictReader(stream))
