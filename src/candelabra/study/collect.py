"""Load the runs of a planned study, and count the looks at their test results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.errors import ConfigError, nearest
from candelabra.files import read_json, write_json
from candelabra.study.inputs import ArmRuns, Status
from candelabra.study.loading import load_arm

if TYPE_CHECKING:
    from candelabra.study.plan import Plan

LOOKS = "looks.json"


def task_margins(
    main_metrics: Mapping[str, str],
    margins: Mapping[str, float],
    metric_margins: Mapping[str, float],
) -> dict[str, float]:
    """Return the smallest difference that matters for each task.

    Args:
        main_metrics: Main metric of each task.
        margins: Task -> margin, for tasks that have their own.
        metric_margins: Metric -> margin, for all other tasks.

    Raises:
        ConfigError: A margin is not above 0, names no task, or is missing.

    Example:
        >>> task_margins({"a": "accuracy", "b": "f1"}, {"b": 0.02}, {"accuracy": 0.005})
        {'a': 0.005, 'b': 0.02}
    """
    for task in margins:
        if task not in main_metrics:
            known = list(main_metrics)
            raise ConfigError(
                f"study.margins: no task {task!r}{nearest(str(task), known)}; "
                f"tasks: {', '.join(known)}"
            )
    found = {}
    for task, metric in main_metrics.items():
        margin = margins.get(task, metric_margins.get(metric))
        if margin is None:
            raise ConfigError(
                f"study.margins.{task} must give the smallest difference that matters: its metric "
                f"{metric} has no default"
            )
        if not margin > 0:
            raise ConfigError(f"study.margins.{task} must be above 0, got {margin}")
        found[task] = float(margin)
    return found


def load_arms(
    plan: Plan, runs_dir: Path, *, tuning_seconds: Mapping[str, float] | None = None
) -> list[ArmRuns]:
    """Load the runs of all arms.

    Args:
        plan: The plan of the study.
        runs_dir: Folder of the run folders.
        tuning_seconds: Duration of the trials of each arm that was tuned.

    Raises:
        DataError: A file of a run is damaged.
    """
    loaded = []
    for arm in plan.arms:
        folders: dict[int, list[Path]] = {seed: [] for seed in plan.seeds}
        for run in plan.runs_of(arm):
            folders[run.seed].append(runs_dir / run.folder)
        words = " ".join(arm.overrides) or "the settings that all arms share"
        loaded.append(
            load_arm(
                arm.name,
                folders,
                root=runs_dir,
                main_metrics=None if arm.one_model_per_task else plan.terms.main_metrics,
                description=f"one model for each task; {words}"
                if arm.one_model_per_task
                else words,
                differs=arm.differs,
                tuning_seconds=(tuning_seconds or {}).get(arm.name, 0.0),
            )
        )
    return loaded


def count_looks(folder: Path, arms: list[ArmRuns]) -> int:
    """Record a look at the test results, and return the number of looks so far.

    A look at the same runs as before does not count.

    Args:
        folder: Folder of the study.
        arms: Arms with their runs.
    """
    names = sorted(
        run.name
        for arm in arms
        for runs in arm.runs.values()
        for run in runs
        if run.status is Status.FINISHED
    )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    looks: dict[str, Any] = read_json(folder / LOOKS) or {"looks": []}
    if digest not in looks["looks"]:
        looks["looks"].append(digest)
        write_json(folder / LOOKS, looks)
    return len(looks["looks"])
