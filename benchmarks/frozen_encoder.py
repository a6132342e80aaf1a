"""Training on a frozen encoder with stored features, against the same training without.

    python benchmarks/frozen_encoder.py --data FOLDER --output frozen_encoder.json

An epoch counts with its validation; the first epoch of a run is left out, since it warms up. The
sweep of `--trials` starts without any features, and counts from the start of its process to the
end. The sides take turns; seconds are those of the processor, in all threads.
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
NAMES = {"imdb": "sentiment", "mit_movie_trivia": "movie", "banking77": "intent"}
HERE = Path(__file__).parent


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data of --tasks")
    parser.add_argument("--tasks", default="imdb", help="option of the group tasks")
    parser.add_argument("--model", default="minilm", help="option of the group encoder")
    parser.add_argument("--limit", type=int, default=1000, help="rows of each split")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of a run")
    parser.add_argument("--trials", type=int, default=20, help="trials of the sweep; 0: no sweep")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def train(given: argparse.Namespace, folder: Path, *words: str) -> float:
    """Run `candelabra train` in a process of its own, and return its processor seconds."""
    limits = f"{{train: {given.limit}, validation: {given.limit}, test: {given.limit}}}"
    command = [sys.executable, "-m", "candelabra", "train", *words]
    command += [f"encoder={given.model}", f"tasks={given.tasks}", "freeze=encoder", "logger=csv"]
    command += ["callbacks=plain", "encoder.max_length=256", f"data_dir={given.data.resolve()}"]
    command += [f"tasks.{NAMES[given.tasks]}.limit={limits}", f"paths.cache_dir={folder}/cache"]
    command += [f"trainer.max_epochs={given.epochs}"]
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def epoch_of(given: argparse.Namespace, folder: Path, side: str, seed: int) -> float:
    """Return the median seconds of the epochs after the first."""
    clock = folder / f"{side}.json"
    words = ["+callbacks.clock._target_=epoch_clock.EpochClock", f"+callbacks.clock.path={clock}"]
    train(given, folder, f"feature_cache={SIDES[side]}", f"seed={seed}", *words)
    return statistics.median(json.loads(clock.read_text())[1:])


def sweep_of(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the seconds of one trial that keeps no features, and of a sweep."""
    rates = ",".join(f"{1e-4 * (trial + 1):.4f}" for trial in range(given.trials))
    one = train(given, folder, "feature_cache=null")
    sweep = train(given, folder, "-m", f"optimizer.head_lr={rates}")
    return {"one without": one, "sweep": sweep, "a trial of it": sweep / given.trials}


def main() -> None:
    given = parsed()
    epochs: dict[str, list[float]] = {side: [] for side in SIDES}
    sweeps: list[dict[str, float]] = []
    for turn in range(given.turns):
        with tempfile.TemporaryDirectory() as name:
            for side in [*list(SIDES)[turn % 3 :], *list(SIDES)[: turn % 3]]:
                epochs[side].append(epoch_of(given, Path(name), side, turn))
        if given.trials:
            with tempfile.TemporaryDirectory() as name:
                sweeps.append(sweep_of(given, Path(name)))
        report(given, epochs, sweeps)


def report(
    given: argparse.Namespace, epochs: dict[str, list[float]], sweeps: list[dict[str, float]]
) -> None:
    """Print the medians, and write all turns to the output."""
    ratios = {
        side: [a / b for a, b in zip(epochs["without"], epochs[side], strict=True)]
        for side in ("float32", "half")
    }
    print("an epoch", {side: round(statistics.median(turns), 3) for side, turns in epochs.items()})
    print("times as fast", {side: [round(x, 1) for x in turns] for side, turns in ratios.items()})
    for sweep in sweeps:
        over = sweep["sweep"] / sweep["one without"]
        seconds = {name: round(x, 1) for name, x in sweep.items()}
        print(f"{given.trials} trials", seconds, f"{over:.2f} times one without", flush=True)
    found = {"seconds": epochs, "ratios": ratios, "sweeps": sweeps, "machine": machine()}
    settings = {key: str(value) for key, value in vars(given).items()}
    given.output.write_text(json.dumps({"settings": settings, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
