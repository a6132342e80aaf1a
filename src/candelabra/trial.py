"""One trial of a sweep: a training in a process of its own, whose folder says how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from candelabra.errors import UserError
from candelabra.files import read_json, write_json
from candelabra.hydra_messages import explained, quoted
from candelabra.resuming import StoredRun
from candelabra.run_place import holder_of
from candelabra.sweep import Sweep, outcome
from candelabra.validation import validate

TRIAL = "CANDELABRA_TRIAL"
"""The variable that tells a process that it is a trial of a sweep."""
ENDED = ("finished", "failed", "interrupted")
STOPPED = ("interrupted", "running")
"""A run that was told to end, or that ended with its machine."""


def trial(cfg: DictConfig, overrides: list[str]) -> float | None:
    """One combination, as Hydra calls it: finished before, gone on with, or trained.

    Args:
        cfg: The trial's configuration, not checked yet.
        overrides: Hydra overrides of the trial.

    Returns:
        `val/score`, for a sweeper that learns from it; None for a trial that failed.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    Sweep().begin(hydra_cfg.job.num, folder, overrides)
    given = list(overrides)
    if not any(override.startswith("group=") for override in overrides):
        given.append(f"group={quoted(folder.parent.name)}")
    record = read_json(folder / "run.json")
    if (record.get("status"), record.get("overrides")) != ("finished", given):
        holder = holder_of(folder)
        if holder is None:
            _run(cfg, folder, given)
        else:  # as where its sweep alone was killed: its record is not ours to write
            print(f"candelabra: error: {folder}: still trained, as {holder}", file=sys.stderr)
    score: float | None = outcome(folder, overrides)["metrics"].get("val/score")
    return score


def given_config_dirs() -> list[str]:
    """The folders of yamls that the person gave beside candelabra's own."""
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.provider == "command-line"]


def _run(cfg: DictConfig, folder: Path, given: list[str]) -> None:
    """Trains in a process of its own; `run.json` says how that ended, whatever happens."""
    words = _words(folder, given)
    end = "stopped before its end"
    try:
        with explained():
            validate(cfg)
        end = f"exit status {_process([sys.executable, '-m', 'candelabra', 'train', *words])}"
    except UserError as error:
        end = str(error)
    finally:
        record = {"overrides": given, **read_json(folder / "run.json")}
        # A killed process has no time to write its end.
        if record.get("status") not in ENDED:
            write_json(folder / "run.json", {**record, "status": "failed", "error": end})


def _words(folder: Path, given: list[str]) -> list[str]:
    """What to type for a trial: it goes on where it was stopped, or starts anew."""
    record = read_json(folder / "run.json")
    stopped = record.get("status") in STOPPED and record.get("overrides") == given
    if stopped and StoredRun(folder, {}, {}).checkpoint.is_file():
        # The person has typed all of them again, and some count only so.
        return [f"resume={folder}", *given]
    if "run_id" in record:  # what says that the folder is a run's, and no more
        write_json(folder / "run.json", {"run_id": record["run_id"]})
    else:
        (folder / "run.json").unlink(missing_ok=True)
    words = [*given, f"hydra.run.dir={quoted(str(folder))}"]
    return words + [word for path in given_config_dirs() for word in ("--config-dir", path)]


def _process(command: Sequence[str]) -> int:
    """Its exit status; what stops this process tells that one to save its state and end."""
    with subprocess.Popen(command, env={**os.environ, TRIAL: "1"}) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
