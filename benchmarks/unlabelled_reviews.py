"""Write IMDb training reviews without their labels, for the students of docs/results.md.

    python benchmarks/unlabelled_reviews.py --data FOLDER --texts 10000 --output reviews.jsonl

They are in neither split of `experiment=best_small`, nor among the 2,500 reviews that are held out
by default, so that no student learns from a text by which it is judged.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from candelabra.data import FilesOrHub
from candelabra.data.loading import load_task

SMALL = {"train": 2000, "validation": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of the data sets")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    whole, small = reviews(options.data, {}), reviews(options.data, SMALL)
    used = {*small["train"], *small["validation"], *whole["validation"]}
    rest = [text for text in whole["train"] if text not in used]
    random.Random(0).shuffle(rest)
    lines = (json.dumps({"text": text}) + "\n" for text in rest[: options.texts])
    options.output.write_text("".join(lines))


def reviews(data: Path, limit: dict[str, int]) -> dict[str, list[str]]:
    """Return the texts of the splits that candelabra makes of the training reviews."""
    source = FilesOrHub(data_dir=str(data), files={"train": "imdb/train.parquet"}, hub={})
    columns = {"text": "text", "label": "label"}
    labels = ["NEGATIVE", "POSITIVE"]
    task = load_task("reviews", source=source, columns=columns, labels=labels, limit=limit)
    return {split: task.splits[split].texts[0] for split in ("train", "validation")}


if __name__ == "__main__":
    main()
