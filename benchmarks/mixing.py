"""Two tasks on one encoder: the speed of candelabra's steps and of the peers' own mixing, in turns.

    python benchmarks/mixing.py --data FOLDER --turns 3 --steps 60 --output mixing.json

IMDb sentiment and Banking77 intents, because both peers can mix two classifications as they are
(neither can mix a classification with a tagging).

The same for all: the rows (checked by their fingerprints), each of them once in one epoch; MiniLM
with mean pooling, dropout and a linear layer for each task; examples in a step, number of steps,
length, precision, attention, fused AdamW, weight decay, linear schedule, clipping, threads, and the
clock (meter.py): fetching a batch, forward, backward and optimizer, after the warm-up.

What differs is the mixing:

- candelabra: joint, both tasks in a step, each at its own length; alternate, one task a step. Rows
  tokenised beforehand, batches of neighbours in length.
- sentence-transformers: PROPORTIONAL and ROUND_ROBIN, one task a step, rows at random. It tokenises
  a text whenever it is drawn: that is part of its time.
- Trainer: `interleave_datasets`; a batch of both tasks is as long as its longest text. Rows
  tokenised beforehand, at random and grouped by length.

So batches hold unlike padding; `tokens/s` counts without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hf_trainer import machine
from peers import NAMES, SAMPLERS, STRATEGIES, model_folder, versions

from candelabra.hardware import device_type, has_bf16

HERE = Path(__file__).resolve().parent
STEPS = ("joint", "alternate")
SIDES = [*STEPS, *SAMPLERS, *STRATEGIES]
TASKS = ("sentiment", "intent")
TRAINING_ONLY = [
    "tasks=none",
    "+task@tasks.sentiment=imdb",
    "+task@tasks.intent=banking77",
    "balancing=upsample",  # equal shares, every row of both tasks
    "scheduler=linear",
    "optimizer.weight_decay=0.01",
    "trainer.max_epochs=1",
    "callbacks=plain",
    "callbacks.best=null",
    "callbacks.checkpoint=null",
    "logger=csv",
    "trainer.limit_val_batches=0",
    "trainer.limit_test_batches=2",
    "+callbacks.meter._target_=lightning_meter.MeterCallback",
]
SPEEDS = ("steps_per_second", "examples_per_second", "tokens_per_second", "padding")


def parse_arguments() -> argparse.Namespace:
    """The command line, checked; `auto` resolved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder that holds imdb/ and banking77/")
    add("--turns", type=int, default=3)
    add("--steps", type=int, default=60, help="of each training; even")
    add("--warmup", type=int, default=5, help="steps before the clock starts")
    add("--batch-size", type=int, default=32, help="examples in a step; even")
    add("--max-length", type=int, default=256)
    add("--workers", type=int, default=0, help="processes that prepare batches")
    add("--lr", type=float, default=1e-4)
    add("--side", choices=SIDES, action="append", help="default: all; the first is the measure")
    add("--model", default="minilm", help="minilm (bundled), tiny (random), or a folder")
    add("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    add("--attention", choices=("auto", "eager", "sdpa"), default="auto")
    add("--output", type=Path, help="JSON file; without it, printed only")
    options = parser.parse_args()
    if options.steps % 2 or options.batch_size % 2:
        parser.error("--steps and --batch-size must be even, so that two tasks share them")
    if not 1 <= options.warmup < options.steps:
        parser.error("--warmup must be at least 1 and less than --steps")
    options.device = device_type("auto")
    if options.precision == "auto":
        options.precision = "bf16" if has_bf16(options.device) else "fp32"
    if options.attention == "auto":
        # All sides take the faster attention that transformers has: benchmarks/attention.py.
        options.attention = "eager" if options.device == "cpu" else "sdpa"
    return options


def main() -> None:
    options = parse_arguments()
    sides = [side for side in SIDES if side in (options.side or SIDES)]
    with tempfile.TemporaryDirectory() as scratch:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        options.model = model_folder(options.model, Path(scratch) / "model")
        turns = [take_turn(sides, options, Path(scratch), turn) for turn in range(options.turns)]
    table = summary(turns)
    print_table(table)
    if options.output:
        about = {"settings": settings, "machine": machine(), "versions": versions()}
        result = {**about, "summary": table, "turns": turns}
        options.output.write_text(json.dumps(result, indent=2) + "\n")


def take_turn(
    sides: list[str], options: argparse.Namespace, scratch: Path, turn: int
) -> dict[str, dict[str, Any]]:
    """One training of every side; each turn another one is the first."""
    first, results = turn % len(sides), {}
    for side in sides[first:] + sides[:first]:
        train = train_ours if side in STEPS else train_peer
        results[side] = train(side, options, scratch, seed=turn)
        speed = results[side]["tokens_per_second"]
        print(f"turn {turn}, {NAMES[side]}: {speed:.0f} tokens/s", flush=True)
    prints = [result["fingerprints"] for result in results.values()]
    if any(one != prints[0] for one in prints):
        raise SystemExit(f"the sides must train on the same rows, found fingerprints {prints}")
    return results


def train_ours(
    side: str, options: argparse.Namespace, scratch: Path, *, seed: int
) -> dict[str, Any]:
    """`candelabra train`, as a person would start it."""
    run_dir, output = scratch / f"{side}-{seed}", scratch / f"{side}-{seed}.json"
    rows = options.steps * options.batch_size // len(TASKS)
    limits = [
        f"tasks.{task}.limit.{split}={size}"
        for task in TASKS
        for split, size in (("train", rows), ("validation", 8), ("test", 8))
    ]
    given = [
        f"step={side}",
        f"data_dir={options.data}",
        f"seed={seed}",
        f"batch_size={options.batch_size}",
        f"num_workers={options.workers}",
        f"optimizer.lr={options.lr}",
        f"trainer.precision={'bf16-mixed' if options.precision == 'bf16' else '32-true'}",
        "encoder=path",
        f"encoder.name={options.model}",
        f"encoder.max_length={options.max_length}",
        f"encoder.attention={options.attention}",
        f"+callbacks.meter.path={output}",
        f"+callbacks.meter.warmup={options.warmup}",
        f"+callbacks.meter.total={options.steps}",
        f"hydra.run.dir={run_dir}",
        f"paths.output_dir={scratch}",
    ]
    run([sys.executable, "-m", "candelabra", "train", *TRAINING_ONLY, *limits, *given])
    prints = json.loads((run_dir / "run.json").read_text())["fingerprints"]
    kept = {task: splits["train"] for task, splits in prints.items()}
    return {**json.loads(output.read_text()), "fingerprints": kept}


def train_peer(
    side: str, options: argparse.Namespace, scratch: Path, *, seed: int
) -> dict[str, Any]:
    output = scratch / f"{side}-{seed}.json"
    names = ("data", "model", "attention", "precision", "device", "steps", "warmup")
    names += ("batch_size", "max_length", "workers", "lr")
    given = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names]
    script = [sys.executable, str(HERE / "mixing_peer.py"), "--side", side]
    run([*script, *given, f"--seed={seed}", f"--output={output}"])
    return json.loads(output.read_text())


def run(command: list[str]) -> None:
    # Hydra imports the meter by its name; the peers would share a step out among all GPUs.
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {"CUDA_VISIBLE_DEVICES": "0", **os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def summary(turns: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians over the turns; `ratio`: the first side's time for a token over this side's."""
    sides = [side for side in SIDES if side in turns[0]]
    table = {}
    for side in sides:
        medians = {key: statistics.median(turn[side][key] for turn in turns) for key in SPEEDS}
        key = "tokens_per_second"
        ratio = statistics.median(turn[side][key] / turn[sides[0]][key] for turn in turns)
        table[side] = {**medians, "ratio": ratio}
    return table


def print_table(table: dict[str, dict[str, float]]) -> None:
    print(f"{'':36}{'steps/s':>9}{'examples/s':>12}{'tokens/s':>10}{'padding':>9}{'ratio':>7}")
    for side, found in table.items():
        speeds = f"{found['steps_per_second']:9.2f}{found['examples_per_second']:12.1f}"
        rest = f"{found['tokens_per_second']:10.0f}{found['padding']:9.1%}{found['ratio']:7.2f}"
        print(f"{NAMES[side]:36}{speeds}{rest}")
    first = NAMES[next(iter(table))]
    print(f"ratio: {first}'s time for a token over this side's; below 1, {first} is faster")


if __name__ == "__main__":
    main()
