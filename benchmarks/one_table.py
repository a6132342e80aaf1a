"""All comparisons with a peer in one run, and one table at the end.

    python benchmarks/one_table.py --data FOLDER --output speed.json

Runs the scripts of training, frozen encoders, sweeps, `embed` and `predict` one after the other.
The ratio of a side is its processor seconds over those of candelabra, the median of the turns with
the least and the most. For sweeps, whose gain is to use all cores, it is that of the seconds; the
trials without kept features are one such trial, times their number. `--quick` takes a few rows and
one turn, to see whether all of it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        work: What is done.
        side: Who does it.
        ratios: Processor seconds over those of candelabra, in each turn.
        share: Part of the rate of matrix products in this precision, if it was measured.
        peak_mib: Largest memory, if it was measured.
    """

    work: str
    side: str
    ratios: Sequence[float]
    share: float | None = None
    peak_mib: float | None = None


def training(found: Any) -> Iterator[Row]:
    """Yield the rows of `training_step.py`."""
    for work, sides in found["tables"].items():
        for side, one in sides.items():
            yield Row(f"train {work}", side, one["ratios"], one["share"], one["peak_rss_mib"])


def frozen(found: Any) -> Iterator[Row]:
    """Yield the rows of `frozen_encoder.py`."""
    yield Row("epoch, frozen encoder", "nothing kept", found["ratios"]["half"])
    if found["sweeps"]:
        trials = int(found["settings"]["trials"])
        gains = [trials * one["one without"] / one["sweep"] for one in found["sweeps"]]
        yield Row(f"{trials} trials, frozen encoder", "one trial without, times all", gains)


def several(found: Any) -> Iterator[Row]:
    """Yield the rows of `sweeps.py`."""
    pairs = zip(found["turns"]["local"], found["turns"]["basic"], strict=True)
    gains = [basic["seconds"] / local["seconds"] for local, basic in pairs]
    yield Row("sweep of short trials, seconds", "one at a time", gains)


def embedding(found: Any) -> Iterator[Row]:
    """Yield the rows of `embed_speed.py`, whose ratios are ours to theirs."""
    for texts, one in found["results"].items():
        gains = [1 / ratio for ratio in one["processor_ratio"]["turns"]]
        yield Row(f"embed {texts}", "sentence-transformers", gains)


def predicting(found: Any) -> Iterator[Row]:
    """Yield the rows of `predict_speed.py`."""
    for texts, one in found["results"].items():
        yield Row(f"predict {texts}", "two pipelines", one["ratios"])


@dataclass(frozen=True)
class Part:
    """A script, its options at full length and in a quick run, and the rows of its output."""

    script: str
    options: Sequence[str]
    quick: Sequence[str]
    rows: Callable[[Any], Iterator[Row]]
    reads_data: bool = True


PARTS = [
    Part("training_step.py", ["--steps", "12"], ["--steps", "1"], training),
    Part(
        "frozen_encoder.py",
        ["--limit", "400"],
        ["--limit", "12", "--epochs", "2", "--trials", "2", "--model", "tiny"],
        frozen,
    ),
    Part("sweeps.py", [], ["--trials", "2", "--steps", "2"], several, reads_data=False),
    Part("embed_speed.py", [], ["--limit", "20"], embedding),
    Part("predict_speed.py", [], ["--limit", "20", "--model", "tiny"], predicting),
]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder of the data sets")
    add("--turns", type=int, default=3)
    add("--quick", action="store_true", help="a few rows and one turn; says nothing of speed")
    add("--part", choices=[part.script for part in PARTS], action="append", help="default: all")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    found: dict[str, Any] = {}
    rows: list[Row] = []
    for part in PARTS:
        if part.script in (options.part or [part.script]):
            found[part.script] = run(part, options)
            rows += part.rows(found[part.script])
            print_table(rows)
            if options.output:
                options.output.write_text(json.dumps(found, indent=2) + "\n")


def run(part: Part, options: argparse.Namespace) -> Any:
    """Run a script, whose own lines go to standard error, and return what it wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "found.json"
        command = [sys.executable, str(HERE / part.script), "--output", str(output)]
        command += ["--turns", str(1 if options.quick else options.turns)]
        command += ["--data", str(options.data.resolve())] if part.reads_data else []
        command += part.quick if options.quick else part.options
        # A second thread on a shared core waits more than it works.
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
        return json.loads(output.read_text())


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows as a table of Markdown."""
    print("\n| work | side | ratio | of the limit | peak MiB |\n|---|---|---:|---:|---:|")
    for row in rows:
        spread = f" ({min(row.ratios):.2f} to {max(row.ratios):.2f})" if len(row.ratios) > 1 else ""
        share = "" if row.share is None else f"{row.share:.0%}"
        peak = "" if row.peak_mib is None else f"{row.peak_mib:,.0f}"
        ratio = f"{statistics.median(row.ratios):.2f}{spread}"
        print(f"| {row.work} | {row.side} | {ratio} | {share} | {peak} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
