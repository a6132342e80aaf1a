"""Horizontal axis of each metric in charts."""

from __future__ import annotations

from collections.abc import Collection

GLOBAL_STEP = "trainer/global_step"
"""Number of optimizer steps: the default axis of metrics."""


def examples_axis(task: str) -> str:
    """Return the name of the metric that counts the training examples of `task` so far."""
    return f"{task}/examples"


def axis_of(metric: str, tasks: Collection[str]) -> str:
    """Return the name of the metric that is the horizontal axis for `metric`.

    Args:
        metric: Name such as `train/sentiment/loss`.
        tasks: Tasks whose examples are counted.

    Returns:
        `<task>/examples` for `train/<task>/...` with a task in `tasks`, else `GLOBAL_STEP`.
    """
    split, _, rest = metric.partition("/")
    task = rest.partition("/")[0]
    return examples_axis(task) if split == "train" and task in tasks else GLOBAL_STEP
