"""How many trials fit on this machine at a time, by its cores, memory and GPU."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
"""Folder of the limits of a container."""
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg", "dri/renderD*", "accel/accel*")
"""Device files of GPUs on Linux; where there is none, PyTorch need not be asked."""


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit():
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def free_gib() -> float:
    """Return the memory that new processes may use, in GiB; infinite if it is not known."""
    free = _numbers("/proc/meminfo").get("MemAvailable:", math.inf) * 1024
    limit = _read(CGROUP / "memory.max")
    if limit.isdigit():
        # Cached files count as used, and are dropped when memory is short.
        cached = _numbers(CGROUP / "memory.stat").get("inactive_file", 0)
        free = min(free, int(limit) - int(_read(CGROUP / "memory.current") or 0) + cached)
    return free / GIB


def fitting_at_once(trainer: Mapping[str, Any], memory_gb: float) -> int:
    """Return how many trials fit on this machine at a time.

    Args:
        trainer: Trainer settings of a trial. Trials on a GPU, or of several processes each, run
            one at a time.
        memory_gb: Memory of a trial, in GiB.
    """
    several = trainer["devices"] not in (1, "1", "auto") or trainer["num_nodes"] > 1
    if several or _uses_gpu(trainer["accelerator"]):
        return 1
    return max(1, int(min(num_cores(), free_gib() / memory_gb)))


def _uses_gpu(accelerator: str) -> bool:
    if accelerator != "auto":
        return accelerator != "cpu"
    if sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in GPU_FILES):
        return False
    import torch

    return torch.accelerator.is_available()


def _read(path: Path) -> str:
    """Return the content of a small file of the kernel; empty if it is missing."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _numbers(path: str | Path) -> dict[str, int]:
    """Return the first number of each line of a file of the kernel, by the line's first word."""
    lines = (line.split() for line in _read(Path(path)).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
