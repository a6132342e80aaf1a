"""Stands in for the processes of a sweep's trials, so that they take no time.

Python imports `sitecustomize` before all else: in the process of a trial it writes what a run
would, and ends that process. How it ends, the trial's `seed` says. In the process that is forked
for each trial, it takes the place of the libraries and of the command.
"""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import pytest

from candelabra.run.preloaded import MODULES
from helpers.command_line import SOURCE

SITE = """
import json, os, pathlib, signal, sys, time, types

HERE = pathlib.Path(__file__).parent

def stand_in(words):
    with (HERE / "commands").open("a") as log:
        log.write(json.dumps(words) + "\\n")
    with (HERE / "threads").open("a") as log:
        log.write(os.environ.get("OMP_NUM_THREADS", "") + "\\n")
    print("a trial prints this", flush=True)
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
    if end == "together":
        (HERE / f"here_{settings['seed']}").touch()
        since = time.monotonic()
        while len(list(HERE.glob("here_*"))) < 2 and time.monotonic() < since + 60:
            time.sleep(0.05)
        end = "finished" if len(list(HERE.glob("here_*"))) == 2 else "failed"
    if end == "waits":
        def saved(*_):
            record = {"status": "interrupted", "overrides": given}
            (folder / "run.json").write_text(json.dumps(record))
            os._exit(143)
        signal.signal(signal.SIGTERM, saved)
        (HERE / f"here_{settings['seed']}").touch()
        time.sleep(60)
    status = end if end in ("finished", "failed", "pruned") else "running"
    record = {"status": status, "overrides": given, "fit_seconds": 10 * score}
    if end == "refused":
        record |= {"status": "failed", "error": "hydra.sweeper.objectives[0] must be one of a, b"}
    (folder / "run.json").write_text(json.dumps(record))
    metrics = {"val/score": score, "val/movie/f1": 1 - score}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "alone":
        os.kill(os.getppid(), signal.SIGKILL)
    os._exit(int(end not in ("finished", "pruned")))

if sys.orig_argv[1:4] == ["-m", "candelabra", "train"] and "-m" not in sys.orig_argv[4:]:
    stand_in(sys.orig_argv[4:])
if sys.orig_argv[1:3] == ["-m", "candelabra.run.preloaded"]:
    for name in os.environ["STAND_IN_MODULES"].split():
        sys.modules[name] = types.ModuleType(name)
    sys.modules["candelabra.cli"].main = lambda: stand_in(sys.argv[2:])
"""

RESULTS = {
    "1": ("finished", 0.2),
    "2": ("finished", 0.7),
    "3": ("killed", 0.9),
    "4": ("not started", 0.9),
    "5": ("alone", 0.9),
    "6": ("pruned", 0.1),
    "7": ("refused", 0.9),
    "8": ("together", 0.3),
    "9": ("together", 0.4),
    "10": ("waits", 0.9),
    "11": ("waits", 0.9),
}
"""How the trial with a seed ends, and its score.

Alone: its launcher's process is killed. Refused: it has not the metrics that its search reads.
Together: waits until two trials run. Waits: until it is terminated, and then saves.
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
        monkeypatch.setenv("STAND_IN_MODULES", " ".join(MODULES))
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

    @property
    def threads(self) -> list[str]:
        """`OMP_NUM_THREADS` of every trial, in the order of their starts."""
        return (self.folder / "threads").read_text().splitlines()

    def wait_for(self, count: int) -> None:
        """Wait until some trials wait or have met."""
        since = time.monotonic()
        while len(list(self.folder.glob("here_*"))) < count:
            assert time.monotonic() < since + 120, "the trials have not started"
            time.sleep(0.05)


def table(sweep: Path) -> list[dict[str, str]]:
    """The rows of a sweep's `sweep.csv`."""
    with (sweep / "sweep.csv").open() as stream:
        return list(csv.DictReader(stream))
