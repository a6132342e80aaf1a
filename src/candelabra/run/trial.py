"""A trial of a sweep, which trains in a separate process and records its outcome in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from candelabra.config.grammar import quoted
from candelabra.config.messages import explained
from candelabra.errors import UserError, printable
from candelabra.files import read_json, write_json
from candelabra.processes import SEARCH, TRIAL
from candelabra.run.place import holder_of
from candelabra.run.resume import StoredRun
from candelabra.run.start import check_settings
from candelabra.run.sweep import (
    ENDED_WELL,
    OUTPUT,
    STOPPED,
    Sweep,
    has_other_run,
    outcome,
    run_overrides,
)

ENDED = ("finished", "pruned", "failed", "interrupted")


def trial(cfg: DictConfig, overrides: list[str]) -> float | None:
    """Run a trial. Skip it if it has already ended well, and resume it if it was interrupted.

    Args:
        cfg: Configuration of the trial, not yet validated.
        overrides: Hydra overrides of the trial.

    Returns:
        `val/score`, which sweepers such as Optuna optimise; `None` if the trial failed.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    Sweep().begin(hydra_cfg.job.num, folder, overrides)
    ended = read_json(folder / "run.json").get("status") in ENDED_WELL
    if not (ended or has_other_run(folder, overrides)):
        holder = holder_of(folder)
        if holder is None:
            _run(cfg, folder, run_overrides(folder, overrides))
        else:  # its sweep was killed, but not the trial itself, which still writes its record
            print(
                printable(f"candelabra: error: {folder}: still trained, as {holder}"),
                file=sys.stderr,
            )
    score: float | None = outcome(folder, overrides)["metrics"].get("val/score")
    return score


def given_config_dirs() -> list[str]:
    """Return the folders that the user passed with `--config-dir`."""
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.provider == "command-line"]


def _run(cfg: DictConfig, folder: Path, given: list[str]) -> None:
    """Train in a separate process, and record how it ended in `run.json` in every case."""
    words = _words(folder, given)
    before, end = read_json(folder / "run.json"), "stopped before its end"
    try:
        with explained():
            check_settings(cfg)
        search = Sweep().searches.get(HydraConfig.get().job.num)
        output = folder / OUTPUT if Sweep().captures else None
        preloaded = Sweep().preloaded
        if preloaded is not None and output is not None:
            status = preloaded.run(words, _environment(search), output)
        else:
            command = [sys.executable, "-m", "candelabra", "train", *words]
            status = _process(command, search, output)
        end = f"exit status {status}"
    except UserError as error:
        end = str(error)
    finally:
        record = read_json(folder / "run.json")
        # A killed process cannot record its own end.
        if record.get("status") not in ENDED:
            # What was refused before it wrote anything may be resumed from its checkpoint later.
            refused = words[0].startswith("resume=") and record == before
            ended = {"status": "interrupted" if refused else "failed", "error": end}
            write_json(folder / "run.json", {"overrides": given, **record, **ended})


def _words(folder: Path, given: list[str]) -> list[str]:
    """Return the arguments of `candelabra train` that resume or start the trial."""
    record = read_json(folder / "run.json")
    stopped = record.get("status") in STOPPED and record.get("overrides") == given
    if stopped and StoredRun(folder, record, {}).has_checkpoint:
        # The user typed these overrides for the sweep. Some of them only count if they are typed.
        return [f"resume={folder}", *given]
    if "run_id" in record:  # It marks the folder as a run's folder.
        write_json(folder / "run.json", {"run_id": record["run_id"]})
    else:
        (folder / "run.json").unlink(missing_ok=True)
    words = [*given, f"hydra.run.dir={quoted(str(folder))}"]
    return words + [word for path in given_config_dirs() for word in ("--config-dir", path)]


def _process(command: Sequence[str], search: str | None = None, output: Path | None = None) -> int:
    """Run the command of a trial and return its exit status.

    If this process is interrupted, the command is terminated. It then saves its state.

    Args:
        command: The command.
        search: Value from `Sweep.searches`; `None` if the trial belongs to no search.
        output: File that gets what the command prints; `None` leaves it to the terminal.
    """
    with (
        nullcontext() if output is None else output.open("ab") as stream,
        subprocess.Popen(
            command, env=_environment(search), stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _environment(search: str | None) -> dict[str, str]:
    """Return the variables of the environment of a trial.

    Args:
        search: Value from `Sweep.searches`; `None` if the trial belongs to no search.
    """
    return {**os.environ, TRIAL: "1", **({} if search is None else {SEARCH: search})}
