"""Metrics in two gloo processes: `python -m helpers.two_processes FOLDER`.

That writes `found.json` into the folder. The first process has 33 rows of each metric and the other
7; then all are in the first.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import torch
from torch import distributed

from helpers.given_vectors import METRICS, made, rows_of

SHARES = {"uneven": 33, "one has none": 40}


def main(folder: Path) -> None:
    """Becomes two processes, once what is heavy is imported."""
    warnings.filterwarnings("ignore", "The ``compute`` method")  # of a process without rows
    torch.set_num_threads(1)
    metrics = {name: made(name) for name in METRICS}
    rank = int(os.fork() == 0)
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = {}
    for name, metric in metrics.items():
        for case, first in SHARES.items():
            metric.reset()
            mine = slice(first) if rank == 0 else slice(first, None)
            predictions, labels = (each[mine] for each in rows_of(name))
            if len(labels):
                metric.update(predictions, labels)
            found[f"{name}, {case}"] = {key: float(v) for key, v in metric.compute().items()}
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
