"""Training on a frozen encoder with stored features, against the same training without.

    python benchmarks/frozen_encoder.py --data FOLDER --output frozen_encoder.json

The seconds of an epoch are those of a run of several epochs less those of a run of one epoch, so
that start-up, the first pass and the test fall away. The sweep of `--trials` starts without any
features. The sides take turns; seconds are those of the processor, in all threads.
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
from pathlib import Path

from hf_trainer import machine

SIDES = {"without": "null", "float32": "float32", "half": "half"}
FEW = "trainer.max_epochs=1"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data of --tasks")
    parser.add_argument("--tasks", default="imdb", help="option of the group tasks")
    parser.add_argument("--model", default="minilm", help="option of the group encoder")
    parser.add_argument("--limit", type=int, default=1000, help="rows of each split")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the longer run")
    parser.add_argument("--trials", type=int, default=20, help="trials of the sweep; 0: no sweep")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def train(given: argparse.Namespace, folder: Path, *words: str) -> float:
    """Run `candelabra train` in a process of its own, and return its processor seconds."""
    limits = f"{{train: {given.limit}, validation: {given.limit}, test: {given.limit}}}"
    names = {"imdb": "sentiment", "mit_movie_trivia": "movie", "banking77": "intent"}
    command = [sys.executable, "-m", "candelabra", "train", *words]
    command += [f"encoder={given.model}", f"tasks={given.tasks}", "freeze=encoder", "logger=csv"]
    command += ["callbacks=plain", "encoder.max_length=256", f"data_dir={given.data.resolve()}"]
    command += [f"+tasks.{names[given.tasks]}.limit={limits}", f"paths.cache_dir={folder}/cache"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    given = parsed()
    seconds: dict[str, dict[str, list[float]]] = {
        key: {side: [] for side in SIDES} for key in ("one epoch", "later epoch")
    }
    sweeps: list[float] = []
    for turn in range(given.turns):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sides = list(SIDES)[turn % 3 :] + list(SIDES)[: turn % 3]
            for side in sides:
                words = [f"feature_cache={SIDES[side]}", f"seed={turn}"]
                few = train(given, folder, *words, FEW)
                many = train(given, folder, *words, f"trainer.max_epochs={given.epochs}")
                if side != "without":  # the first run has made the features
                    few = train(given, folder, *words, FEW)
                seconds["one epoch"][side].append(few)
                seconds["later epoch"][side].append((many - few) / (given.epochs - 1))
        if given.trials:
            with tempfile.TemporaryDirectory() as name:
                rates = ",".join(f"{1e-4 * (trial + 1):.4f}" for trial in range(given.trials))
                epochs = f"trainer.max_epochs={given.epochs}"
                one = train(given, Path(name), "feature_cache=null", epochs)
                many = train(given, Path(name), "-m", f"optimizer.head_lr={rates}", epochs)
                sweeps.append(many / one)
        report(given, seconds, sweeps)


def report(
    given: argparse.Namespace, seconds: dict[str, dict[str, list[float]]], sweeps: list[float]
) -> None:
    """Print the medians, and write all turns to the output."""
    later = seconds["later epoch"]
    ratios = {
        side: [a / b for a, b in zip(later["without"], later[side], strict=True)]
        for side in SIDES
        if side != "without"
    }
    for key, sides in seconds.items():
        print(key, {side: round(statistics.median(turns), 2) for side, turns in sides.items()})
    print("times as fast", {side: [round(x, 1) for x in turns] for side, turns in ratios.items()})
    print(f"{given.trials} trials over one without", [round(x, 2) for x in sweeps])
    found = {"seconds": seconds, "ratios": ratios, "sweeps": sweeps, "machine": machine()}
    settings = {key: str(value) for key, value in vars(given).items()}
    given.output.write_text(json.dumps({"settings": settings, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
