"""A sweep of short trials: one at a time with all cores, against as many as the machine takes.

    python benchmarks/sweeps.py --output sweeps.json

The trials train on the bundled sample. The sides take turns. The time of a sweep is that of its
command from start to end; that of a start is the processor's, of a trial until its first step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hf_trainer import machine

SIDES = {"basic": ["hydra/launcher=basic"], "local": []}
HERE = Path(__file__).parent


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny", help="option of the group encoder")
    parser.add_argument("--steps", type=int, default=20, help="steps of a trial")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def sweep(given: argparse.Namespace, side: str, folder: Path) -> dict[str, Any]:
    """Run a sweep in a new folder, and return its seconds and those of its trials' starts."""
    seeds = ",".join(map(str, range(given.trials)))
    command = [sys.executable, "-m", "candelabra", "train", "-m", f"seed={seeds}", *SIDES[side]]
    command += [f"encoder={given.model}", "logger=csv", "callbacks=plain", "trainer.max_epochs=1"]
    command += [f"trainer.limit_train_batches={given.steps}", f"hydra.sweep.dir={folder}/s"]
    command += ["+callbacks.clock._target_=first_step.FirstStep", f"paths.cache_dir={folder}/cache"]
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    starts = [json.loads(file.read_text()) for file in folder.glob("s/*/first_step.json")]
    return {"seconds": seconds, "processor_seconds": processor, "starts": starts}


def main() -> None:
    given = parsed()
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(given.turns):
        for side in list(SIDES)[:: -1 if turn % 2 else 1]:
            with tempfile.TemporaryDirectory() as name:
                found[side].append(sweep(given, side, Path(name)))
            print(side, found[side][-1], flush=True)
        report(given, found)


def report(given: argparse.Namespace, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the medians, and write all turns to the output."""
    for key in ("seconds", "processor_seconds"):
        ratios = [b[key] / a[key] for a, b in zip(found["local"], found["basic"], strict=True)]
        medians = {side: round(statistics.median(t[key] for t in found[side]), 1) for side in SIDES}
        print(key, medians, "ratio of each turn", [round(ratio, 2) for ratio in ratios])
    for side in SIDES:
        starts = [start for turn in found[side] for start in turn["starts"]]
        print(f"start of a trial, {side}", round(statistics.median(starts), 2), flush=True)
    settings = {key: str(value) for key, value in vars(given).items()}
    text = json.dumps({"settings": settings, "turns": found, "machine": machine()}, indent=2)
    given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
