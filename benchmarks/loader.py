"""Loaders alone: examples and steps a second, and how much of the batches is padding, in turns.

    python benchmarks/loader.py --data FOLDER --rows 5000 --workers 0 2 --output loader.json

IMDb reviews and MIT Movie trivia questions, on the CPU, without a model. The same for all: rows,
tokenizer, length, and the examples of a step (but for `max_tokens`, which puts fewer long texts
into one). The loaders are those that the three trainers iterate themselves:

- candelabra: `MultiTaskDataModule.train_dataloader`, joint and alternate; rows tokenised
  beforehand, batches of neighbours in length. They carry the tags and word positions too.
- Trainer: `get_train_dataloader` on `interleave_datasets`, with `DataCollatorWithPadding`; rows
  tokenised beforehand, at random and grouped by length.
- sentence-transformers: `get_train_dataloader` with its two samplers of several data sets and its
  collator, which tokenises a text whenever it is drawn: that is part of its time.

The peers get no tags, which they cannot mix with classes. `start`: seconds from asking for the
loader to its first batch (schedule, lengths, workers). The speed is that of the batches after it.
`padding` is the padded part of all positions, `largest` the positions of the largest batch that an
encoder would see; both come from a pass of its own, which also warms up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hf_task import load_rows
from hf_trainer import machine
from loader_sides import REVIEWS, Loaders, Open, our_loaders, peer_loaders
from peers import NAMES, model_folder, versions
from torch import Tensor

from candelabra.records import Batch, Examples

TASKS = (REVIEWS, "mit_movie_trivia")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder that holds imdb/ and mit_movie_trivia/")
    add("--rows", type=int, default=5000, help="most rows of each task")
    add("--steps", type=int, help="most steps of an epoch; without it, all")
    add("--batch-size", type=int, default=32, help="examples in a step")
    add("--max-length", type=int, default=256)
    add("--max-tokens", type=int, default=2048, help="padded tokens of reviews in a step")
    add("--workers", type=int, nargs="+", default=[0, 2])
    add("--turns", type=int, default=3)
    add("--model", default="minilm", help="minilm (bundled), tiny (random), or a folder")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    tasks = {task: train_rows(task, options) for task in TASKS}
    with tempfile.TemporaryDirectory() as scratch:
        options.model = model_folder(options.model, Path(scratch) / "model")
        loaders = {**our_loaders(tasks, options), **peer_loaders(tasks, options, Path(scratch))}
        waste = {side: padding(opened(0), options.steps) for side, opened in loaders.items()}
        turns = [
            {"workers": workers, **take_turn(loaders, workers, options.steps, first=turn)}
            for turn in range(options.turns)
            for workers in options.workers
        ]
    table = {
        side: {**found, "speed": summary(side, turns, options.workers)}
        for side, found in waste.items()
    }
    print_table(table)
    if options.output:
        num_rows = {task: len(rows) for task, rows in tasks.items()}
        about = {"settings": settings, "machine": machine(), "versions": versions()}
        result = {**about, "num_rows": num_rows, "summary": table, "turns": turns}
        options.output.write_text(json.dumps(result, indent=2) + "\n")


def train_rows(task: str, options: argparse.Namespace) -> Examples:
    limits = {"train": options.rows, "validation": 0, "test": 0}
    return load_rows(task, options.data, limits)[0]["train"]


def take_turn(loaders: Loaders, workers: int, steps: int | None, *, first: int) -> dict[str, Any]:
    """The speed of every loader; each turn another one is the first."""
    first, results = first % len(loaders), {}
    for side in [*loaders][first:] + [*loaders][:first]:
        results[side] = speed(loaders[side](workers), steps)
        rate = results[side]["examples_per_second"]
        print(f"{workers} workers, {NAMES[side]}: {rate:.0f} examples/s", flush=True)
    return results


def masks(batch: dict[str, Any]) -> Iterator[Tensor]:
    """The attention masks of a step of any side, one for each pass through an encoder."""
    for key, value in batch.items():
        if isinstance(value, Batch):
            yield from (text.mask_BL for text in value.texts)
        elif key.endswith("attention_mask"):
            yield value


def padding(opened: Open, steps: int | None) -> dict[str, float]:
    """The padded part of all positions, and the positions of the largest batch."""
    tokens = positions = largest = 0
    for batch in islice(opened(), steps):
        for mask_BL in masks(batch):
            tokens += int(mask_BL.sum())
            positions += mask_BL.numel()
            largest = max(largest, mask_BL.numel())
    return {"padding": 1 - tokens / positions, "largest": largest}


def speed(opened: Open, steps: int | None) -> dict[str, float]:
    """Seconds to the first batch, and the speed of those after it."""
    begin = time.perf_counter()
    batches = islice(opened(), steps)
    next(batches)
    start = end = time.perf_counter()
    num_steps = num_examples = 0
    for batch in batches:
        num_steps += 1
        num_examples += sum(len(mask_BL) for mask_BL in masks(batch))
        end = time.perf_counter()  # before workers are sent home
    return {
        "start_seconds": start - begin,
        "steps": num_steps,
        "steps_per_second": num_steps / (end - start),
        "examples_per_second": num_examples / (end - start),
    }


def summary(
    side: str, turns: list[dict[str, Any]], workers: list[int]
) -> dict[str, dict[str, float]]:
    """Number of workers -> medians over the turns."""
    keys = ("start_seconds", "steps_per_second", "examples_per_second")
    return {
        str(number): {
            key: statistics.median(turn[side][key] for turn in turns if turn["workers"] == number)
            for key in keys
        }
        for number in workers
    }


def print_table(table: dict[str, dict[str, Any]]) -> None:
    heads = f"{'workers':>8}{'steps/s':>9}{'examples/s':>12}{'start':>8}"
    print(f"{'':35}{heads}{'padding':>9}{'largest':>9}")
    for side, found in table.items():
        for workers, medians in found["speed"].items():
            speeds = f"{medians['steps_per_second']:9.1f}{medians['examples_per_second']:12.0f}"
            waste = f"{found['padding']:9.1%}{found['largest']:9}"
            start = f"{medians['start_seconds']:8.3f}"
            print(f"{NAMES[side]:35}{workers:>8}{speeds}{start}{waste}")


if __name__ == "__main__":
    main()
