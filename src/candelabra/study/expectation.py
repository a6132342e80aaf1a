"""Estimate the differences that a planned study can detect, before its runs are trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from candelabra.files import read_json
from candelabra.study.power import guessed_variance, smallest_detectable
from candelabra.study.statistics import Variance

if TYPE_CHECKING:
    from candelabra.study.plan import Plan

SEED_SDS = {"f1": 0.008}
"""Guesses of the standard deviation of a score between seeds, by metric."""
SEED_SD = 0.004
ROW_SDS = {"f1": 0.26}
"""Guesses of the standard deviation of the score of one row, by metric. That of entity F1 follows
from an interval of +-1.15 points on the 1,953 questions of MIT Movie."""
ROW_SD = 0.3
"""The guess for other metrics, which is that of an accuracy of .9."""
ALPHA = 0.05


def expected_variance(
    metric: str, *, num_seeds: int, num_rows: int, earlier: Variance | None = None
) -> Variance:
    """Return the expected variance of a difference in a planned study.

    Args:
        metric: Main metric of the task.
        num_seeds: Number of seeds.
        num_rows: Number of test rows.
        earlier: Variance in an earlier study of the task; `None` uses the guesses.
    """
    if earlier is not None:
        return earlier.with_seeds(num_seeds).with_rows(num_rows)
    return guessed_variance(
        seed_sd=SEED_SDS.get(metric, SEED_SD),
        row_sd=ROW_SDS.get(metric, ROW_SD),
        num_seeds=num_seeds,
        num_rows=num_rows,
    )


def earlier_variance(file: Path, task: str) -> Variance | None:
    """Return the largest variance in an earlier study; `None` without such a study.

    Args:
        file: The `study.json` of the study.
        task: Name of the task.
    """
    comparisons: Mapping[str, Any] = (
        read_json(file).get("tasks", {}).get(task, {}).get("comparisons", {})
    )
    found = [
        Variance(**one["variance"], num_seeds=one["num_seeds"], num_rows=one["num_rows"])
        for one in comparisons.values()
        if "variance" in one
    ]
    return max(found, key=lambda variance: variance.total, default=None)


def detectable_table(plan: Plan, margins: Mapping[str, float], file: Path) -> Table:
    """Return a table of the smallest difference that the study can detect in each task.

    Args:
        plan: The plan.
        margins: Smallest difference that matters, for each task.
        file: The `study.json` of an earlier study of the same arms, which need not exist.
    """
    num = len(plan.seeds)
    table = Table(title="smallest detectable difference, in points", title_justify="left")
    for column in ("task", "matters", f"{num} seeds", f"{2 * num} seeds", "4 x test rows", "from"):
        table.add_column(column, justify="left" if column in ("task", "from") else "right")
    # The level of the strictest comparison by Holm's method.
    confidence = 1 - ALPHA / ((len(plan.arms) - 1) * len(margins))
    for task, margin in margins.items():
        rows, earlier = plan.terms.num_test_rows[task], earlier_variance(file, task)
        metric = plan.terms.main_metrics[task]
        numbers = [
            smallest_detectable(
                expected_variance(metric, num_seeds=seeds, num_rows=num_rows, earlier=earlier),
                confidence=confidence,
            )
            for seeds, num_rows in ((num, rows), (2 * num, rows), (num, 4 * rows))
        ]
        table.add_row(
            task,
            *(f"{100 * number:.2f}" for number in [margin, *numbers]),
            "guesses" if earlier is None else "the runs so far",
        )
    table.caption = (
        "A true difference of this size is found in four of five such studies. Add seeds where "
        "they lower the number. Where they do not, only more test rows help."
    )
    table.caption_justify = "left"
    return table
