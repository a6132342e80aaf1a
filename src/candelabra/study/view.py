"""The content of a page: the facts of a study as texts, rows and pictures.

Scores and differences are in points, that is in hundredths of the metric.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from candelabra.report.drawing import Picture
from candelabra.report.formats import EMPTY, duration, in_points, p_words, points
from candelabra.study.histories import agreement, drawn, learning_curves
from candelabra.study.inputs import ArmRuns
from candelabra.study.pictures import (
    IntervalRow,
    agreement_plot,
    cost_plot,
    curves_plot,
    interval_plot,
)
from candelabra.study.provenance import Provenance, provenance_of
from candelabra.study.result import Contrast, StudyResult

LIMITS = (
    "Other data. The test rows are a sample of one source; another source may rank the arms "
    "differently.",
    "Other encoders and other sizes of them.",
    "Other budgets: more steps, more examples or more tuning may help one arm more than another.",
    "A difference smaller than the smallest that the study could find, which each task states.",
)


@dataclass(frozen=True)
class TaskView:
    """One task of the page.

    Attributes:
        name: Name of the task.
        metric: Its main metric.
        about: Metric, number of rows and margin in one line.
        verdicts: Name and verdict of each compared arm.
        intervals: Interval plot; `None` if no arm can be judged.
        scores: Rows of the table of arms.
        details: Rows of the table of details.
        curves: Learning curves; `None` if the runs logged none.
    """

    name: str
    metric: str
    about: str
    verdicts: Sequence[tuple[str, str]]
    intervals: Picture | None
    scores: Sequence[dict[str, str]]
    details: Sequence[dict[str, str]]
    curves: Picture | None


@dataclass(frozen=True)
class View:
    """All content of a page, in its order.

    Attributes:
        result: The compared arms.
        summary: Size and cost of the study in one sentence.
        missing: Rows of the table of runs that did not finish.
        tasks: The tasks.
        means: Name of each arm, and verdict on its mean over the tasks.
        costs: Rows of the table of costs.
        cost: Quality against cost; `None` if the costs are not known.
        agreements: Name of each arm, and picture of the agreement of its gradients.
        has_noise: Whether the noise of the agreement was logged.
        drawn: Rows of the table of drawn examples.
        limits: Limits of the study.
        provenance: Facts to repeat the study.
    """

    result: StudyResult
    summary: str
    missing: Sequence[dict[str, str]]
    tasks: Sequence[TaskView]
    means: Sequence[tuple[str, str]]
    costs: Sequence[dict[str, str]]
    cost: Picture | None
    agreements: Sequence[tuple[str, Picture]]
    has_noise: bool
    drawn: Sequence[dict[str, str]]
    limits: Sequence[str]
    provenance: Provenance

    @property
    def pictures(self) -> list[Picture]:
        """Return all pictures of the page."""
        of_tasks = [one for task in self.tasks for one in (task.intervals, task.curves)]
        found = [*of_tasks, self.cost, *(picture for _, picture in self.agreements)]
        return [picture for picture in found if picture is not None]


def view_of(result: StudyResult) -> View:
    """Collect the content of a page."""
    study = result.study
    pairs = {arm.name: agreement(arm) for arm in study.arms}
    return View(
        result=result,
        summary=_summary(result),
        missing=[_missing(arm, seed, run) for arm in study.arms for seed, run in arm.problems()],
        tasks=[_task(result, task, place) for place, task in enumerate(study.margins, 1)],
        means=[(arm, contrast.words) for arm, contrast in result.means.items()],
        costs=[_costs(arm) for arm in study.arms],
        cost=_cost(result),
        agreements=[
            (arm, agreement_plot(f"gradients-{place}", found))
            for place, (arm, found) in enumerate(pairs.items(), 1)
            if found
        ],
        has_noise=any(one.noise for found in pairs.values() for one in found.values()),
        drawn=[_drawn(arm, task) for task in study.margins for arm in study.arms],
        limits=[*LIMITS, *_same_arms(result), *study.limits],
        provenance=provenance_of(study),
    )


def _same_arms(result: StudyResult) -> list[str]:
    return [
        f"The difference between {other!r} and {arm!r}: all their predictions are the same. They "
        "count as one comparison."
        for arm, other in result.same.items()
    ]


def _summary(result: StudyResult) -> str:
    runs = {
        run.name: run
        for arm in result.study.arms
        for several in arm.runs.values()
        for run in several
        if run.status == "finished"
    }
    seconds = [run.cost.training_seconds for run in runs.values()]
    known = [each for each in seconds if each is not None]
    cost = f" {duration(sum(known))} of training." if known else ""
    runs_word = "run" if len(runs) == 1 else "runs"
    return f"{len(result.study.arms)} arms, {len(runs)} finished {runs_word}.{cost}"


def _missing(arm: ArmRuns, seed: int, run: Any) -> dict[str, str]:
    return {
        "arm": arm.name,
        "seed": str(seed),
        "run": run.name,
        "state": str(run.status),
        "reason": run.problem,
    }


def _detectable(judged: Sequence[Contrast]) -> str:
    """Return a sentence about the differences that the study finds in all comparisons of a task."""
    sizes = [one.detectable for one in judged if one.detectable is not None]
    if not sizes:
        return ""
    if max(sizes) >= 1:
        return " The seeds are too few to find even the largest difference."
    return f" The study finds differences of about {points(max(sizes))} points and more."


def _task(result: StudyResult, task: str, place: int) -> TaskView:
    study, contrasts = result.study, result.contrasts[task]
    sample, metric = result.samples[task], study.metric(task)
    judged = {arm: one for arm, one in contrasts.items() if one.estimate is not None}
    curves = learning_curves(study, task)
    rows = f"{sample.num_rows:,} test rows" if sample.num_rows else "test rows unknown"
    return TaskView(
        name=task,
        metric=metric,
        about=f"{metric}, {rows}, differences of {in_points(study.margins[task])} matter."
        f"{_detectable(list(judged.values()))}",
        verdicts=[(arm, one.words) for arm, one in contrasts.items()],
        intervals=_intervals(result, task, judged, place) if judged else None,
        scores=[_scores(result, task, arm.name) for arm in study.arms],
        details=[_details(arm, one) for arm, one in judged.items()],
        curves=curves_plot(f"curves-{place}", curves, label=f"{metric}, points")
        if curves
        else None,
    )


def _intervals(result: StudyResult, task: str, judged: dict[str, Contrast], place: int) -> Picture:
    rows = [
        IntervalRow(
            arm,
            100 * one.difference,
            (100 * one.interval[0], 100 * one.interval[1]),
            [100 * each for each in one.estimate.by_seed],
        )
        for arm, one in judged.items()
        if one.interval is not None and one.estimate is not None
    ]
    words = "; ".join(
        f"{row.arm} {row.difference:+.2f} [{row.interval[0]:+.2f}, {row.interval[1]:+.2f}]"
        for row in rows
    )
    return interval_plot(
        f"intervals-{place}",
        rows,
        margin=100 * result.study.margins[task],
        description=f"Differences from {result.study.baseline} in {task}: {words}.",
        unit="difference from the baseline, points",
    )


def _scores(result: StudyResult, task: str, arm: str) -> dict[str, str]:
    scores = list(result.samples[task].scores[arm].values())
    contrast = result.contrasts[task].get(arm)
    judged = contrast is not None and contrast.estimate is not None
    return {
        "arm": arm,
        "mean": points(statistics.fmean(scores) if scores else None),
        "spread": points(statistics.stdev(scores) if len(scores) > 1 else None),
        "seeds": str(len(scores)),
        "difference": points(contrast.difference, signed=True) if contrast and judged else EMPTY,
        "interval": _ends(contrast.interval if contrast else None),
        "verdict": "baseline" if contrast is None else contrast.words,
        "p": p_words(contrast.adjusted.p_value) if contrast and judged else EMPTY,
    }


def _details(arm: str, contrast: Contrast) -> dict[str, str]:
    estimate = contrast.estimate
    assert estimate is not None
    gain = estimate.chance_of_gain
    return {
        "arm": arm,
        "by seed": ", ".join(points(each, signed=True) for each in estimate.by_seed),
        "new pair above 0": EMPTY if gain is None else f"{gain:.0%}",
        "McNemar p, first seed": p_words(contrast.mcnemar),
        "plain 95% interval": _ends(estimate.interval(0.95)),
        "level": f"{contrast.adjusted.confidence:.2%}",
        "smallest detectable": points(contrast.detectable),
        "standard error": points(estimate.variance.standard_error),
    }


def _ends(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return EMPTY
    return f"[{points(interval[0], signed=True)}, {points(interval[1], signed=True)}]"


def _costs(arm: ArmRuns) -> dict[str, str]:
    cost = arm.cost()
    speed = cost.ms_per_text
    return {
        "arm": arm.name,
        "training of one seed": duration(cost.training_seconds) if arm.trained else "none",
        "parameters stored": EMPTY if cost.parameters is None else f"{cost.parameters / 1e6:.1f} M",
        "encoder passes a text": EMPTY if cost.encoder_passes is None else str(cost.encoder_passes),
        "ms a text": EMPTY if speed is None else f"{speed:.1f}",
    }


def _cost(result: StudyResult) -> Picture | None:
    """Draw the mean score against the training time, or else against the stored parameters."""
    scores = {task: result.mean_scores(task) for task in result.study.margins}
    arms = [arm for arm in result.study.arms if all(arm.name in found for found in scores.values())]
    quality = {
        arm.name: 100 * statistics.fmean(found[arm.name] for found in scores.values())
        for arm in arms
    }
    choices: dict[str, list[float | None]] = {
        "training of one seed, minutes": [arm.cost().training_seconds for arm in arms],
        "parameters stored, millions": [arm.cost().parameters for arm in arms],
    }
    for (label, values), unit in zip(choices.items(), (60, 1e6), strict=True):
        known = [value for value in values if value is not None]
        if arms and len(known) == len(arms) and max(known) > 0:
            costs = dict(zip(quality, known, strict=True))
            found = {arm: (costs[arm] / unit, quality[arm]) for arm in quality}
            return cost_plot("cost", found, labels=(label, "mean score, points"))
    return None


def _drawn(arm: ArmRuns, task: str) -> dict[str, str]:
    found = drawn(arm, task)
    cells = {key: f"{found[key]:,.0f}" if key in found else EMPTY for key in ("drawn", "repeated")}
    left = f"{found['left_out']:,.0f}" if "left_out" in found else EMPTY
    return {"task": task, "arm": arm.name, **cells, "left out": left}
