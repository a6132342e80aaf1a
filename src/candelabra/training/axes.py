"""What each metric is drawn against."""

from __future__ import annotations

from collections.abc import Collection

GLOBAL_STEP = "trainer/global_step"
"""Optimizer steps done: what every metric is drawn against unless its task has an own axis."""


def examples_axis(task: str) -> str:
    """The metric that counts the examples which `task` has seen."""
    return f"{task}/examples"


def axis_of(metric: str, tasks: Collection[str]) -> str:
    """The step metric that `metric` is drawn against.

    Args:
        metric: A name such as `train/sentiment/loss`.
        tasks: The tasks whose examples are counted.

    Returns:
        `<task>/examples` for `train/<task>/...` of such a task, else the global step.
    """
    split, _, rest = metric.partition("/")
    task = rest.partition("/")[0]
    return examples_axis(task) if split == "train" and task in tasks else GLOBAL_STEP
