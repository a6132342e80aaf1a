"""The training step on a CPU: candelabra against both trainers, on one core, in turns.

    python benchmarks/training_step.py --data FOLDER --turns 3 --output step.json

MiniLM (or `--model`) on IMDb reviews (16 a step), on MIT Movie trivia (32 a step), and on both in
one joint step, for which a peer needs two trainings: its seconds are the sum. The same rows for
all, 256 tokens at most, dropout as the checkpoint has it. The first of two epochs warms the process
up. The clock counts the whole loop of the second, to the end of its last step (step_clock.py).
Ratios are of processor seconds, which are those of the clock on an idle core and do not grow on a
shared one.

Sides: candelabra as it is, with levers of docs/speed.md off, and in random order; the trainers at
their defaults (float32, sdpa, random order) and tuned alike (bf16 where the processor has it,
grouped by length, eager attention).

The share of the limit divides the operations that the tokens need, padding left out, by what the
core's matrix multiplication does in that precision and time; it is measured in every turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hf_task import load_rows, tokenize
from hf_trainer import bundled_model, machine
from peers import versions
from transformers import AutoConfig, AutoTokenizer

from candelabra.hardware import has_bf16

HERE = Path(__file__).resolve().parent
BATCH = {"imdb": 16, "mit_movie_trivia": 32}
NAMES = {"imdb": "sentiment", "mit_movie_trivia": "movie"}
SPENT = "processor_seconds"
WORK = {"reviews": ["imdb"], "trivia": ["mit_movie_trivia"], "mixed": list(BATCH)}
OFF = ["encoder.attention=eager", "encoder.bit_dropout=false", "keep_memory=false"]
OURS = {
    "candelabra": [],
    "no attention by blocks": ["encoder.attention=eager"],
    "no bit dropout": ["encoder.bit_dropout=false"],
    "no kept memory": ["keep_memory=false"],
    "all three off": OFF,
    "random order": ["balancing.order=random"],
}
DEFAULTS = ["--precision=fp32", "--attention=sdpa"]
HALF = has_bf16("cpu")
TUNED = [f"--precision={'bf16' if HALF else 'fp32'}", "--attention=eager"]
PEERS = {
    "Trainer, defaults": ["--framework=trainer", *DEFAULTS],
    "Trainer, tuned": ["--framework=trainer", *TUNED, "--group-by-length"],
    "sentence-transformers, defaults": ["--framework=sentence_transformers", *DEFAULTS],
    "sentence-transformers, tuned": ["--framework=sentence_transformers", *TUNED],
}
TRAINING_ONLY = [
    *("tasks=none", "trainer.max_epochs=2", "test=false", "callbacks=plain", "logger=csv"),
    *("callbacks.best=null", "callbacks.checkpoint=null", "trainer.limit_val_batches=0"),
    *(f"trainer.precision={'bf16-mixed' if HALF else '32-true'}", "optimizer.lr=5e-5"),
    "+callbacks.clock._target_=step_clock.LightningClock",
]


@dataclass
class Settings:
    """What the command line asks for."""

    data: Path
    steps: int
    model: str
    max_length: int
    scratch: Path
    seed: int = 0
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder of the data sets")
    add("--turns", type=int, default=3)
    add("--steps", type=int, default=16)
    add("--model", default=bundled_model(), help="folder of the encoder; default: MiniLM")
    add("--max-length", type=int, default=256)
    add("--work", choices=WORK, action="append", help="default: all")
    add("--side", choices=[*OURS, *PEERS], action="append", help="default: all")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    works = options.work or list(WORK)
    sides = [side for side in [*OURS, *PEERS] if side in (options.side or [*OURS, *PEERS])]
    operations = {task: operations_of(task, options) for work in works for task in WORK[work]}
    turns = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(options.turns):
            settings = Settings(
                options.data,
                options.steps,
                options.model,
                options.max_length,
                Path(scratch),
                seed=turn,
            )
            turns.append(take_turn(works, sides, settings, turn))
    tables = {work: summary(work, sides, turns, operations) for work in works}
    for work, table in tables.items():
        print_table(work, table)
    if options.output:
        about = {"machine": machine(), "versions": versions(), "steps": options.steps, "half": HALF}
        options.output.write_text(json.dumps({**about, "tables": tables, "turns": turns}, indent=2))


def take_turn(
    works: Sequence[str], sides: Sequence[str], settings: Settings, turn: int
) -> dict[str, dict[str, Any]]:
    """One training of every side; each turn another one is the first."""
    found: dict[str, dict[str, Any]] = {work: {} for work in works}
    first = turn % len(sides)
    for work in works:
        found[work]["gemm"] = {"flops": gemm_flops()}
        for side in [*sides[first:], *sides[:first]]:
            result = (
                train_ours(work, side, settings) if side in OURS else peers(work, side, settings)
            )
            if result is not None:
                found[work][side] = result
                print(f"turn {turn}, {work}, {side}: {result[SPENT]:.1f} s", flush=True)
    return found


def gemm_flops() -> float:
    """Operations a second of one core's matrix multiplication, at its best of five."""
    torch.set_num_threads(1)
    size, dtype = 2048, torch.bfloat16 if HALF else torch.float32
    one, other = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.process_time()
        torch.mm(one, other)
        seconds.append(time.process_time() - start)
    return 2 * size**3 / min(seconds[1:])


def operations_of(task: str, options: argparse.Namespace) -> float:
    """Operations of forward and backward for the rows' real tokens, linear layers and attention."""
    rows, _ = load_rows(task, options.data, {"train": options.steps * BATCH[task], "test": 0})
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    features = tokenize(rows["train"], tokenizer, options.max_length).features
    config = AutoConfig.from_pretrained(options.model)
    width, inner, depth = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    lengths = [len(feature["input_ids"]) for feature in features]
    linear = sum(lengths) * 2 * (4 * width**2 + 2 * width * inner)
    attention = sum(length**2 for length in lengths) * 4 * width
    return 3.0 * depth * (linear + attention)


def train_ours(work: str, side: str, settings: Settings) -> dict[str, Any]:
    """`candelabra train`, as a person would start it."""
    output = settings.scratch / "ours.json"
    tasks = WORK[work]
    mounted = [f"+task@tasks.{NAMES[task]}={task}" for task in tasks]
    limits = [
        f"tasks.{NAMES[task]}.limit.{split}={size}"
        for task in tasks
        for split, size in (("train", settings.steps * BATCH[task]), ("validation", 8), ("test", 8))
    ]
    given = [
        f"batch_size={sum(BATCH[task] for task in tasks)}",
        f"data_dir={settings.data}",
        f"seed={settings.seed}",
        "encoder=path",
        f"encoder.name={settings.model}",
        f"encoder.max_length={settings.max_length}",
        f"+callbacks.clock.path={output}",
        f"paths.output_dir={settings.scratch}",
    ]
    command = [sys.executable, "-m", "candelabra", "train", *TRAINING_ONLY, *mounted]
    return run([*command, *limits, *given, *OURS[side]], output)


def peers(work: str, side: str, settings: Settings) -> dict[str, Any] | None:
    """One training for each task; None where the peer cannot train a task."""
    if "sentence" in side and work != "reviews":
        return None
    found = []
    for task in WORK[work]:
        key = f"{side}, {task}"
        if key not in settings.kept:  # the single tasks were trained in this turn already
            settings.kept[key] = train_peer(task, side, settings)
        found.append(settings.kept[key])
    sums = {key: sum(one[key] for one in found) for key in ("seconds", SPENT, "steps")}
    return {**sums, "peak_rss_mib": max(one["peak_rss_mib"] for one in found)}


def train_peer(task: str, side: str, settings: Settings) -> dict[str, Any]:
    output = settings.scratch / "peer.json"
    given = [f"--task={task}", f"--data={settings.data}", f"--output={output}"]
    given += [f"--rows={settings.steps * BATCH[task]}", f"--batch-size={BATCH[task]}"]
    given += [f"--max-length={settings.max_length}", f"--seed={settings.seed}"]
    given += [f"--model={settings.model}"]
    return run([sys.executable, str(HERE / "training_step_peer.py"), *PEERS[side], *given], output)


def run(command: list[str], output: Path) -> dict[str, Any]:
    # Hydra imports the clock by its name.
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def summary(
    work: str,
    sides: Sequence[str],
    turns: Sequence[dict[str, dict[str, Any]]],
    operations: dict[str, float],
) -> dict[str, dict[str, Any]]:
    """Medians over the turns; `ratios`: a side's processor seconds over candelabra's."""
    needed = sum(operations[task] for task in WORK[work])
    table = {}
    for side in sides:
        found = [turn[work] for turn in turns if side in turn[work]]
        if not found:
            continue
        ratios = [one[side][SPENT] / one[sides[0]][SPENT] for one in found]
        shares = [needed / one[side][SPENT] / one["gemm"]["flops"] for one in found]
        table[side] = {
            "seconds": statistics.median(one[side]["seconds"] for one in found),
            SPENT: statistics.median(one[side][SPENT] for one in found),
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "share": statistics.median(shares),
            "peak_rss_mib": statistics.median(one[side]["peak_rss_mib"] for one in found),
        }
    return table


def print_table(work: str, table: dict[str, dict[str, Any]]) -> None:
    print(
        f"\n{work:32}{'seconds':>9}{'processor':>10}{'ratio':>7}{'least':>7}{'most':>7}{'limit':>7}{'MiB':>7}"
    )
    for side, found in table.items():
        ratios = f"{found['ratio']:7.2f}{min(found['ratios']):7.2f}{max(found['ratios']):7.2f}"
        rest = f"{found['share']:7.0%}{found['peak_rss_mib']:7.0f}"
        print(f"{side:32}{found['seconds']:9.1f}{found[SPENT]:10.1f}{ratios}{rest}")


if __name__ == "__main__":
    main()
