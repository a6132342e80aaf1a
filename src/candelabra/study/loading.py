"""Load the runs of an arm from their folders."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from candelabra.bundle.stored import (
    is_number,
    stored_file,
    stored_history,
    stored_lines,
    stored_yaml,
)
from candelabra.errors import DataError
from candelabra.evaluation.comparison import TELLING
from candelabra.evaluation.row_scores import row_scores
from candelabra.study.inputs import ArmRuns, Cost, Run, Status, TestRows

SPLIT = "test"


def load_arm(
    name: str,
    folders: Mapping[int, Sequence[Path]],
    *,
    root: Path,
    main_metrics: Mapping[str, str] | None = None,
    **facts: Any,
) -> ArmRuns:
    """Load the runs of an arm.

    Args:
        name: Name of the arm.
        folders: Run folders of each seed. A folder that does not exist is a missing run.
        root: Folder that the names of the runs are relative to.
        main_metrics: Main metrics of the tasks, for runs whose folder does not contain them.
        facts: Other attributes of the arm, such as `trained` and `description`.

    Raises:
        DataError: A file is damaged, or two runs of a seed have the same task.
    """
    runs = {
        seed: tuple(load_run(folder, root=root, main_metrics=main_metrics) for folder in several)
        for seed, several in folders.items()
    }
    for seed, several in runs.items():
        tasks = [task for run in several for task in run.main_metrics]
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice and main_metrics is None:
            raise DataError(f"arm {name!r}, seed {seed}: two runs have the task {twice[0]!r}")
    return ArmRuns(name, runs, **facts)


def load_run(
    folder: Path, *, root: Path | None = None, main_metrics: Mapping[str, str] | None = None
) -> Run:
    """Load a run folder, or the output folder of `candelabra evaluate`.

    Args:
        folder: The folder.
        root: Folder that the name of the run is relative to; `None` takes the folder's own name.
        main_metrics: Main metric of each task, for a folder without `config.yaml`.

    Returns:
        The run. A run that did not finish has another status and no scores.

    Raises:
        DataError: A file is damaged.
    """
    name = folder.name
    if root is not None and folder.is_relative_to(root):
        name = folder.relative_to(root).as_posix()
    if not folder.is_dir():
        return Run(name, Status.MISSING, "not trained yet", dict(main_metrics or {}))
    record = _read(folder, "run.json")
    tasks = _main_metrics(folder) or dict(main_metrics or {})
    metrics = _read(folder, "metrics.json")
    problem = _problem(record, metrics, tasks)
    if problem is not None:
        return Run(name, *problem, tasks, record=record)
    scores = {task: float(metrics[f"{SPLIT}/{task}/{metric}"]) for task, metric in tasks.items()}
    rows = {
        task: _test_rows(folder, f"predictions/{task}.jsonl", metric, scores[task])
        for task, metric in tasks.items()
    }
    return Run(
        name,
        Status.FINISHED,
        "",
        tasks,
        scores,
        {task: found for task, found in rows.items() if found is not None},
        stored_history(folder),
        _cost(folder, record),
        record,
    )


def _problem(
    record: Mapping[str, Any], metrics: Mapping[str, Any], tasks: Mapping[str, str]
) -> tuple[Status, str] | None:
    """Return the status and the reason of a run that has no scores to compare."""
    status = record.get("status", "finished")
    if status == "failed":
        return Status.FAILED, str(record.get("error") or "failed without a message")
    if status != "finished":
        return Status.MISSING, f"not finished ({status})"
    if not metrics:
        return Status.MISSING, "no metrics.json"
    for task, metric in tasks.items():
        value = metrics.get(f"{SPLIT}/{task}/{metric}")
        if not is_number(value):
            return Status.FAILED, f"metrics.json has no number for {SPLIT}/{task}/{metric}"
    return None


def _read(folder: Path, name: str) -> dict[str, Any]:
    file = stored_file(folder, name)
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: must be a JSON object; found {type(found).__name__}")
    return found


def _main_metrics(folder: Path) -> dict[str, str]:
    """Return the main metric of each task of a run's configuration; empty without the file."""
    config = stored_yaml(folder, "config.yaml")
    if not config:
        return {}
    try:
        return {str(task): str(node["main_metric"]) for task, node in config["tasks"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        file = folder / "config.yaml"
        raise DataError(f"{file}: must name the main_metric of each task: {error}") from error


def _test_rows(folder: Path, name: str, metric: str, score: float) -> TestRows | None:
    """Return the rows of a predictions file, or `None` if there is no such file."""
    file = stored_file(folder, name)
    if file is None:
        return None
    digest = hashlib.sha256()
    rows = []
    try:
        for row in stored_lines(folder, name):
            digest.update(f"{row['row']} {row['label']!r}\n".encode())
            rows.append({"label": row["label"], "prediction": row["prediction"]})
        scored = row_scores(metric, rows)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{file}: has a line that is no prediction: {error}") from error
    if scored is not None and abs(scored.value - score) > TELLING:
        scored = None
    return TestRows(scored, len(rows), digest.hexdigest())


def _cost(folder: Path, record: Mapping[str, Any]) -> Cost:
    """Return the cost from `run.json` and the bundle."""
    bundle = folder / "bundle"
    config = _read(folder, "bundle/config.json")
    # A bundle keeps `adapter` only if each task has its own, and then needs a pass for each task.
    tasks = config.get("tasks")
    passes = len(tasks) if "adapter" in config and isinstance(tasks, dict) else 1
    return Cost(
        training_seconds=training_seconds(record),
        parameters=_num_parameters(bundle),
        encoder_passes=passes if config else None,
    )


def training_seconds(record: Mapping[str, Any]) -> float | None:
    """Return the duration of a run's fit and of encoding what it keeps frozen; `None` if unknown.

    The run that computes the features of a frozen part does so for all runs that share them.
    """
    fit, features = record.get("fit_seconds"), record.get("feature_seconds", 0.0)
    return float(fit + features) if is_number(fit) and is_number(features) else None


def _num_parameters(bundle: Path) -> int | None:
    """Count the numbers in the weights of a bundle from the headers of its files."""
    files = sorted(bundle.rglob("*.safetensors"))
    if not files:
        return None
    total = 0
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(f"{file}: cannot be read: {error}") from error
        total += sum(math.prod(shape) for shape in shapes)
    return total
