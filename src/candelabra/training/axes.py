"""Names of metrics in charts, and the horizontal axis of each."""

from __future__ import annotations

import re
from collections.abc import Collection

GLOBAL_STEP = "x/step"
"""Number of optimizer steps in charts: the default axis of metrics."""
SCORE_OR_LOSS = re.compile(r"(val|test)/.+|train/([^/]+/)?loss")
EXAMPLES = re.compile(r"[^/]+/examples")
TEACHER = "its_teacher"
"""Name of a task's teacher where their gradients are compared."""


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


def chart_name(metric: str) -> str:
    """Return the name of a metric in W&B, which sorts charts by name: scores and losses first.

    Args:
        metric: Name in `metrics.csv`.

    Returns:
        The same name for scores and losses, `x/<name>` for horizontal axes, and `watch/<name>` for
        all others.

    Example:
        >>> sorted(map(chart_name, ["epoch", "movie/examples", "lr-AdamW", "val/score"]))
        ['val/score', 'watch/lr-AdamW', 'x/epoch', 'x/movie/examples']
    """
    if SCORE_OR_LOSS.fullmatch(metric) or metric == GLOBAL_STEP:
        return metric
    return f"x/{metric}" if metric == "epoch" or EXAMPLES.fullmatch(metric) else f"watch/{metric}"


def pair_title(pair: str) -> str:
    """Return a pair of gradients as shown to a person.

    Args:
        pair: Name in metrics: `<task>_vs_<task>`, or `<task>_vs_its_teacher`.

    Example:
        >>> pair_title("sentiment_vs_movie"), pair_title("movie_vs_its_teacher")
        ('sentiment and movie', 'movie: labels and teacher')
    """
    first, _, second = pair.partition("_vs_")
    return f"{first}: labels and teacher" if second == TEACHER else f"{first} and {second}"
