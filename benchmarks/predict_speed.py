"""Speed of `predict` with two heads against two pipelines of Hugging Face, in turns in one run.

    python benchmarks/predict_speed.py --data FOLDER --turns 3 --output predict.json

A model with a head for sentiment and one for entities is trained for one step, and each head is
exported to a folder of transformers with the encoder. candelabra answers both tasks of a text in
one pass; the peer asks `text-classification`, then `token-classification`. Both get the same texts:
IMDb test reviews drawn by a seed, and the test questions of MIT Movie trivia. The time is that of
texts in, answers out; the models are loaded before. The pipelines compute in float32, their
default, candelabra in `--precision`, by default that of `candelabra predict`.

The script fails if a probability of the sentiment differs by more than 1e-4 in float32, or .05 in
bfloat16. For the ratio of one core's work, take `OMP_NUM_THREADS=1`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hf_trainer import machine
from peers import versions
from transformers import pipeline

import candelabra
from candelabra import hardware

TEXTS = {"imdb": "text", "mit_movie_trivia": "tokens"}
TOLERANCE = {"32-true": 1e-4, "bf16-mixed": 0.05}
"""Largest difference of a probability of the sentiment, by precision."""
OURS, PEER = "candelabra", "two pipelines"
TRAINED = [
    *("tasks=imdb_mit_movie", "tasks.movie.head.constrained=false", "pooling=cls_pooler"),
    *("callbacks=plain", "logger=csv", "test=false", "trainer.max_epochs=1"),
    *("trainer.limit_train_batches=1", "trainer.limit_val_batches=2"),
]

Answer = Callable[[list[str]], list[dict[str, float]]]
"""Function texts -> probabilities of the sentiment of each text."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder of the data sets")
    add("--texts", choices=TEXTS, action="append", help="default: both")
    add("--limit", type=int, default=1000, help="most texts of each set")
    add("--batch-size", type=int, default=32, help="texts in a pass")
    add("--max-length", type=int, default=256)
    add("--turns", type=int, default=3)
    add("--seed", type=int, default=0, help="of the draw")
    add("--model", default="minilm", help="option of the group encoder")
    add("--precision", choices=("auto", *TOLERANCE), default="auto")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    options.precision = hardware.precision(options.precision, "cpu")
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    with tempfile.TemporaryDirectory() as scratch:
        sides = load_sides(options, Path(scratch))
        results = {
            name: compare(name, draw(name, options), sides, options)
            for name in options.texts or TEXTS
        }
    if options.output:
        about = {"settings": settings, "machine": machine(), "versions": versions()}
        options.output.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


def draw(name: str, options: argparse.Namespace) -> list[str]:
    """Draw test texts of a set by the seed: all of them, or as many as wanted."""
    column = pq.read_table(options.data / name / "test.parquet")[TEXTS[name]].to_pylist()
    texts = [cell if isinstance(cell, str) else " ".join(cell) for cell in column]
    return random.Random(options.seed).sample(texts, min(options.limit, len(texts)))


def load_sides(options: argparse.Namespace, scratch: Path) -> dict[str, Answer]:
    """Load both sides with the same weights, and warm them."""
    run(
        *(
            "train",
            *TRAINED,
            f"encoder={options.model}",
            f"encoder.max_length={options.max_length}",
        ),
        *(f"data_dir={options.data.resolve()}", f"hydra.run.dir={scratch}/run"),
        *(f"tasks.{task}.limit={{train: 64, validation: 64}}" for task in ("sentiment", "movie")),
        *(f"paths.output_dir={scratch}", f"paths.cache_dir={scratch}/cache"),
    )
    bundle = scratch / "run" / "bundle"
    folders = {task: str(scratch / task) for task in ("sentiment", "movie")}
    for task, folder in folders.items():
        run("export", f"bundle={bundle}", "format=transformers", f"task={task}", f"output={folder}")
    model = candelabra.load(bundle)
    asked: dict[str, Any] = {"device": "cpu", "batch_size": options.batch_size}
    moods = pipeline("text-classification", model=folders["sentiment"], top_k=None, **asked)
    words = {"aggregation_strategy": "first", **asked}
    entities = pipeline("token-classification", model=folders["movie"], **words)

    def ours(texts: list[str]) -> list[dict[str, float]]:
        size, precision = options.batch_size, options.precision
        answers = model.predict(texts, batch_size=size, precision=precision)
        return [answer["sentiment"]["probabilities"] for answer in answers]

    def theirs(texts: list[str]) -> list[dict[str, float]]:
        entities(texts)
        answers = moods(texts, truncation=True)
        return [{one["label"]: one["score"] for one in answer} for answer in answers]

    for answer in (ours, theirs):
        answer(["the first pass is slow"] * options.batch_size)
    return {OURS: ours, PEER: theirs}


def run(*words: str) -> None:
    """Run a command of candelabra."""
    command = [sys.executable, "-m", "candelabra", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def compare(
    name: str, texts: list[str], sides: dict[str, Answer], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the seconds of each turn; a ratio above 1 means that candelabra is faster."""
    spent: dict[str, dict[str, list[float]]] = {
        kind: {side: [] for side in sides} for kind in ("seconds", "processor_seconds")
    }
    furthest = 0.0
    for turn in range(options.turns):
        found = {}
        for side in list(sides)[:: -1 if turn % 2 else 1]:
            begin, used = time.perf_counter(), time.process_time()
            found[side] = sides[side](texts)
            spent["seconds"][side].append(time.perf_counter() - begin)
            spent["processor_seconds"][side].append(time.process_time() - used)
        furthest = max(furthest, difference(found[OURS], found[PEER]))
        if not furthest <= TOLERANCE[options.precision]:
            raise SystemExit(f"{name}: probabilities differ by {furthest}")
    ratios = [
        theirs / ours
        for ours, theirs in zip(*(spent["processor_seconds"][side] for side in sides), strict=True)
    ]
    result = {"texts": len(texts), "furthest": furthest, **spent, "ratios": ratios}
    for side in sides:
        speed = len(texts) / statistics.median(spent["seconds"][side])
        print(f"{name}, {side}: {speed:.0f} texts/s")
    turns = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"  processor's time, theirs to ours: {statistics.median(ratios):.2f} (turns {turns})")
    print(f"  probabilities differ by {furthest:.0e} at most", flush=True)
    return result


def difference(first: Sequence[dict[str, float]], second: Sequence[dict[str, float]]) -> float:
    """Return the largest difference of a probability."""
    pairs = zip(first, second, strict=True)
    return max(abs(one[label] - other[label]) for one, other in pairs for label in one)


if __name__ == "__main__":
    main()
