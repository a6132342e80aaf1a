"""Training time of candelabra against the Hugging Face Trainer, in turns in one run.

    python benchmarks/compare_speed.py --data FOLDER --turns 3 --output speed.json

Same rows, model, length, batch size, epochs, precision and optimizer; one epoch, no validation, no
loading and no tokenisation in the time. 2,000 IMDb reviews, and MIT Movie trivia whole.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REVIEWS = 2000
TASKS = {
    "imdb": {
        "peer": ["--lr", "5e-5", "--rows", str(REVIEWS)],
        "ours": ["experiment=imdb_only", f"tasks.sentiment.limit.train={REVIEWS}"],
    },
    "mit_movie_trivia": {
        "peer": ["--lr", "1e-4"],
        "ours": ["experiment=mit_movie_only", "trainer.max_epochs=1"],
    },
}
TRAINING_ONLY = [
    "callbacks=plain",
    "callbacks.best=null",
    "callbacks.checkpoint=null",
    "logger=csv",
    "trainer.limit_val_batches=0",
    "trainer.limit_test_batches=1",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--task", choices=TASKS, action="append", help="default: both")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {
        task: compare(task, arguments.data, arguments.turns) for task in arguments.task or TASKS
    }
    for task, result in results.items():
        print(
            f"{task}: candelabra {result['ours_median']:.1f} s, Trainer "
            f"{result['peer_median']:.1f} s, ratio {result['ratio']:.2f} "
            f"(turns: {', '.join(f'{ratio:.2f}' for ratio in result['ratios'])})"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")


def compare(task: str, data: str, turns: int) -> dict[str, Any]:
    """Seconds of each turn; a ratio below 1 means that candelabra is faster."""
    ours, peer = [], []
    for turn in range(turns):
        sides = [(peer, train_peer), (ours, train_ours)]
        # The second to run finds a warmer machine: take turns at that too.
        for seconds, train in sides if turn % 2 == 0 else reversed(sides):
            seconds.append(train(task, data, seed=turn))
            print(f"{task}, turn {turn}, {train.__name__}: {seconds[-1]:.1f} s", flush=True)
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    return {
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ours_median": statistics.median(ours),
        "peer_median": statistics.median(peer),
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }


def train_peer(task: str, data: str, *, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        script = [sys.executable, str(HERE / "hf_trainer.py"), "--task", task, "--data", data]
        settings = ["--epochs", "1", "--test-rows", "0", "--seed", str(seed)]
        run([*script, *settings, *TASKS[task]["peer"], "--output", str(output)])
        return float(json.loads(output.read_text())["train_seconds"])


def train_ours(task: str, data: str, *, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "candelabra", "train", *TASKS[task]["ours"]]
        settings = [f"data_dir={data}", f"seed={seed}", f"hydra.run.dir={folder}/run"]
        run([*command, *TRAINING_ONLY, *settings, f"paths.output_dir={folder}"])
        return float(json.loads((Path(folder) / "run" / "run.json").read_text())["fit_seconds"])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
