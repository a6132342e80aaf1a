"""Facts for `run.json`: the machine of a run, and its rows without a use or a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from candelabra.data.loading import TaskData
from candelabra.model.multitask import MultiTaskModel


def machine_facts(model: MultiTaskModel, device: str, *, num_processes: int) -> dict[str, Any]:
    """Return the device, the threads, the processes and the attention kernel of a run."""
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": num_processes,
        "attention": model.encoder.attention_of(device, training=True),
    }


def row_counts(data: Mapping[str, TaskData]) -> dict[str, Any]:
    """Return how many rows of each task are skipped, lack a label, or have only a teacher."""
    return {
        "skipped": {name: task.skipped for name, task in data.items()},
        "missing_labels": {name: task.missing_labels for name, task in data.items()},
        "teacher_only": {name: task.teacher_only for name, task in data.items()},
    }
