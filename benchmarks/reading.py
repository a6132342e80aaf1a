"""Reading and checking the rows of each file format, beside pandas, pyarrow and a plain loop.

    python benchmarks/reading.py --rows 100000 --output reading.json

The rows are drawn by a seed: 20 words and one of three labels, or for CoNLL a sentence of 8 words
with tags. Our side reads the file, checks every row and turns labels into numbers. The others read
the same columns into Python lists and check nothing. Sides take turns; the median is given.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from hf_trainer import machine

from candelabra.data.files.readers import read_table
from candelabra.data.rows.examples import to_examples

LABELS = ["bad", "fair", "good"]
TAGS = ["O", "B-Film", "I-Film"]
TEXTS, WORDS = {"text": "text", "label": "label"}, {"words": "tokens", "tags": "tags"}
Read = Callable[[Path], list[list[Any]]]
"""Function of a file -> its two columns."""


def ours(file: Path) -> list[list[Any]]:
    columns, labels = (WORDS, TAGS) if file.suffix == ".conll" else (TEXTS, LABELS)
    examples, skipped = to_examples(read_table(file), columns, labels, "error")
    assert not skipped
    return [examples.texts[0], list(examples.labels)]


def of_frame(frame: pd.DataFrame) -> list[list[Any]]:
    return [frame["text"].tolist(), frame["label"].tolist()]


def of_arrow(table: pa.Table) -> list[list[Any]]:
    return [table["text"].to_pylist(), table["label"].to_pylist()]


def loop_csv(file: Path, *, delimiter: str = ",") -> list[list[Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=delimiter))
    return [[row["text"] for row in rows], [row["label"] for row in rows]]


def loop_json(file: Path) -> list[list[Any]]:
    text = file.read_text(encoding="utf-8")
    rows = json.loads(text) if file.suffix == ".json" else map(json.loads, text.splitlines())
    columns = [(row["text"], row["label"]) for row in rows]
    return [list(column) for column in zip(*columns, strict=True)]


def loop_conll(file: Path) -> list[list[Any]]:
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    rows = [[line.split("\t") for line in block.splitlines()] for block in blocks]
    return [[[cells[side] for cells in row] for row in rows] for side in (0, 1)]


SIDES: dict[str, dict[str, Read]] = {
    "csv": {
        "pandas": lambda file: of_frame(pd.read_csv(file)),
        "pyarrow": lambda file: of_arrow(pa.csv.read_csv(file)),
        "loop": loop_csv,
    },
    "tsv": {
        "pandas": lambda file: of_frame(pd.read_csv(file, sep="\t")),
        "loop": lambda file: loop_csv(file, delimiter="\t"),
    },
    "csv.gz": {"pandas": lambda file: of_frame(pd.read_csv(file)), "loop": loop_csv},
    "jsonl": {
        "pandas": lambda file: of_frame(pd.read_json(file, lines=True)),
        "pyarrow": lambda file: of_arrow(pa.json.read_json(file)),
        "loop": loop_json,
    },
    "json": {"pandas": lambda file: of_frame(pd.read_json(file)), "loop": loop_json},
    "parquet": {
        "pandas": lambda file: of_frame(pd.read_parquet(file)),
        "pyarrow": lambda file: of_arrow(pq.read_table(file)),
    },
    "conll": {"loop": loop_conll},
}
"""The other sides of each format."""


def write(folder: Path, kind: str, rows: int, seed: int) -> Path:
    """Write rows that are drawn by a seed, and return the file."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 9))) for _ in range(5000)]
    file = folder / f"rows.{kind}"
    if kind == "conll":
        tags = ["O", "B-Film", "I-Film", "O", "O", "B-Film", "O", "O"]
        sentences = (zip(draw.choices(words, k=8), tags, strict=True) for _ in range(rows))
        file.write_text("\n\n".join("\n".join(map("\t".join, each)) for each in sentences) + "\n")
        return file
    texts = [" ".join(draw.choices(words, k=20)) for _ in range(rows)]
    frame = pd.DataFrame({"text": texts, "label": draw.choices(LABELS, k=rows)})
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind.startswith("json"):
        frame.to_json(file, orient="records", lines=kind == "jsonl")
    else:
        frame.to_csv(file, index=False, sep="\t" if kind == "tsv" else ",")
    return file


def measured(file: Path, sides: dict[str, Read], turns: int) -> dict[str, float]:
    """Return the median seconds of each side, which take turns."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(turns):
        for side, read in sides.items():
            begin = time.perf_counter()
            read(file)
            seconds[side].append(time.perf_counter() - begin)
    return {side: round(statistics.median(each), 4) for side, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=100_000)
    add("--kinds", nargs="+", choices=list(SIDES), default=list(SIDES))
    add("--turns", type=int, default=5)
    add("--seed", type=int, default=0)
    add("--output", type=Path, help="JSON file; without it, printed only")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            file = write(Path(folder), kind, options.rows, options.seed)
            found[kind] = measured(file, {"ours": ours, **SIDES[kind]}, options.turns)
            print(kind, found[kind], flush=True)
    if options.output is not None:
        about = {"rows": options.rows, "turns": options.turns, "machine": machine()}
        options.output.write_text(json.dumps({**about, "seconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
