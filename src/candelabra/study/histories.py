"""Learning curves, agreement of gradients and drawn examples, from the histories of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from candelabra.study.inputs import ArmRuns, Row, Run, Study


@dataclass(frozen=True)
class Band:
    """Values of several runs at the same steps.

    Attributes:
        steps: Optimizer steps.
        means: Mean over the runs at each step.
        lows: Smallest value.
        highs: Largest value.
    """

    steps: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True)
class Agreement:
    """Agreement of the gradients of two tasks, over all shared parameters.

    Attributes:
        cosines: Cosines of the two gradients.
        noise: 95th percentile of the absolute cosine between two halves of one task's batch;
            `None` if the runs did not measure it.
    """

    cosines: Band
    noise: Band | None


def learning_curves(study: Study, task: str) -> dict[str, Band]:
    """Return the validation scores of a task for each arm that logged them."""
    column = f"val/{task}/{study.metric(task)}"
    found = {arm.name: band([run.history for run in _runs(arm)], column) for arm in study.arms}
    return {name: one for name, one in found.items() if one is not None}


def agreement(arm: ArmRuns) -> dict[str, Agreement]:
    """Return the agreement of each pair of gradients, such as `a_vs_b` or `a_vs_its_teacher`."""
    histories = [run.history for run in _runs(arm)]
    pairs = {
        name.split("/")[1]
        for history in histories
        for row in history
        for name in row
        if name.startswith("gradients/") and name.endswith("/all/cosine")
    }
    found = {}
    for pair in sorted(pairs):
        cosines = band(histories, f"gradients/{pair}/all/cosine")
        if cosines is not None:
            found[pair] = Agreement(cosines, band(histories, f"gradients/{pair}/all/noise"))
    return found


def drawn(arm: ArmRuns, task: str) -> dict[str, float]:
    """Return how many examples of a task were drawn, repeated and left out in all epochs of a run.

    The values are means over the runs with the task. The result is empty if no run logged them.
    """
    totals: dict[str, list[float]] = defaultdict(list)
    for run in _runs(arm):
        for key in ("drawn", "repeated", "left_out"):
            values = [row[name] for row in run.history if (name := f"train/{task}/{key}") in row]
            if values:
                totals[key].append(sum(values))
    return {key: sum(values) / len(values) for key, values in totals.items()}


def band(histories: Sequence[Sequence[Row]], column: str) -> Band | None:
    """Summarise one column of several histories by step; `None` if no history has it."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for history in histories:
        for step, value in _last_values(history, column).items():
            by_step[step].append(value)
    if not by_step:
        return None
    steps = sorted(by_step)
    return Band(
        tuple(steps),
        tuple(sum(by_step[step]) / len(by_step[step]) for step in steps),
        tuple(min(by_step[step]) for step in steps),
        tuple(max(by_step[step]) for step in steps),
    )


def _last_values(history: Sequence[Row], column: str) -> Mapping[int, float]:
    return {int(row["step"]): row[column] for row in history if column in row and "step" in row}


def _runs(arm: ArmRuns) -> list[Run]:
    return [run for seed in arm.seeds for run in arm.runs[seed]]
