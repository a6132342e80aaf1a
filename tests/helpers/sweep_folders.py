"""The folder of a sweep as training leaves it, with drawn scores."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

RATES, FREEZES, SEEDS = ("1e-05", "0.0001", "0.001"), ("nothing", "encoder"), ("0", "1")
GAIN = {"1e-05": 0.0, "0.0001": 0.06, "0.001": 0.02, "nothing": 0.03, "encoder": 0.0}
COLUMNS = ["val/score", "test/score"]


def write_sweep(folder: Path, *, failed: int = 1, error: str = "the loss is nan") -> list[Any]:
    """Write the trials of a grid; the last ones failed. Return words and scores of the others."""
    random, finished = Random(0), []
    grid = list(product(RATES, FREEZES, SEEDS))
    for place, (rate, freeze, seed) in enumerate(grid):
        words = ["encoder=tiny", f"optimizer.lr={rate}", f"freeze={freeze}", f"seed={seed}"]
        score = 0.7 + GAIN[rate] + GAIN[freeze] + random.gauss(0, 0.005)
        trial = folder / str(place)
        trial.mkdir(parents=True)
        record: dict[str, Any] = {"status": "finished", "overrides": words, "seed": int(seed)}
        if place >= len(grid) - failed:
            record |= {"status": "failed", "error": error}
        else:
            metrics = {"val/score": score, "test/score": score - 0.01}
            (trial / "metrics.json").write_text(json.dumps(metrics))
            finished.append((words, score))
        (trial / "run.json").write_text(json.dumps(record))
        begun = folder / ".trials" / "20260101-000000-abcd" / f"{place:06}.json"
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.write_text(json.dumps({"folder": str(trial.absolute()), "overrides": words}))
    with (folder / "sweep.csv").open("w", newline="") as stream:
        csv.writer(stream).writerow([*COLUMNS, "status", "overrides", "folder", "error"])
    return finished
