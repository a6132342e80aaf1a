"""Page of one run, from the files of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from candelabra.bundle.stored import (
    is_number,
    stored_history,
    stored_json,
    stored_numbers,
    stored_yaml,
)
from candelabra.config.environment import is_masked
from candelabra.config.schema import command_of
from candelabra.config.targets import NAME
from candelabra.errors import DataError
from candelabra.predictions.reading import read_rows
from candelabra.report.curves import curves
from candelabra.report.formats import EMPTY, clipped, duration, number
from candelabra.report.identity import fingerprint_of, identity_section
from candelabra.report.settings import facts_of, is_pretraining
from candelabra.report.task_section import task_section
from candelabra.report.texts import read_texts
from candelabra.report.view import Cells, Page, Section, Table

OF_TEXTS = {"texts": "accuracy"}
"""Name and main metric of the texts that a pre-training learns from."""


def run_page(
    folder: Path, *, most_errors: int = 20, data_dir: str | None = None, allow: Sequence[str] = ()
) -> Page:
    """Collect the content of a run's page.

    Args:
        folder: Run folder. Parts whose files are missing are left out of the page.
        most_errors: Maximum number of errors of each task to show; 0 reads no texts.
        data_dir: Folder of the data, if they are no longer where the run read them.
        allow: Names that the stored settings may use, in addition to candelabra's own.

    Raises:
        DataError: A file of the folder is damaged.
        ConfigError: The stored settings of a task name code that is not trusted.
    """
    record, metrics = stored_json(folder, "run.json"), stored_numbers(folder, "metrics.json")
    config = stored_yaml(folder, "config.yaml")
    main = _main_metrics(folder, config)
    figures = curves(stored_history(folder), main)
    sections = [Section("Scores", tables=_score_tables(metrics, main))] if metrics else []
    sections += [Section("How it came about", figures=figures)] if figures else []
    warnings = _warnings(record, metrics)
    for place, task in enumerate(main, 1):
        rows = read_rows(folder, task)
        if is_pretraining(config):
            continue
        if rows is None:
            warnings.append(f"There are no predictions of {task} for test rows.")
            continue
        texts = partial(
            read_texts,
            task,
            _settings(folder, config, task),
            fingerprint=fingerprint_of(record, task, "test"),
            data_dir=data_dir,
            allow=allow,
        )
        of_task = _of_task(metrics, "test", task)
        sections.append(
            task_section(task, rows, place=place, metrics=of_task, most=most_errors, texts=texts)
        )
    sections.append(Section("Settings", facts=facts_of(config)))
    sections.append(identity_section(record, command_of(config)))
    return Page(
        "run",
        f"{folder.name}: {', '.join(main)}",
        _answer(record, metrics, main),
        _summary(record),
        warnings,
        sections,
    )


def _main_metrics(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the main metric of each task, or that of the texts of a pre-training.

    Raises:
        DataError: The configuration names no tasks, or a task has no valid name.
    """
    tasks = config.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        raise DataError(f"{folder / 'config.yaml'}: must name tasks")
    for task, settings in tasks.items():
        # A task's name becomes part of file names.
        if not isinstance(task, str) or not NAME.fullmatch(task):
            raise DataError(f"{folder / 'config.yaml'}: task {task!r} must match {NAME.pattern}")
        if not isinstance(settings, Mapping) or not isinstance(settings.get("main_metric"), str):
            raise DataError(f"{folder / 'config.yaml'}: tasks.{task} must name its main_metric")
    if is_pretraining(config):
        return OF_TEXTS
    return {task: settings["main_metric"] for task, settings in tasks.items()}


def _settings(folder: Path, config: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """Return the settings of a task.

    `config.yaml` masks values from the environment, so take a masked source from the bundle.
    """
    settings: dict[str, Any] = dict(config["tasks"][task])
    source = settings.get("source")
    if is_masked(source):
        of_bundle = stored_json(folder, "bundle/config.json").get("tasks", {}).get(task, {})
        settings["source"] = of_bundle.get("source", source)
    return settings


def _warnings(record: Mapping[str, Any], metrics: Mapping[str, float]) -> list[str]:
    status = record.get("status", "unknown")
    warnings = []
    if status != "finished":
        # The error of an interrupted run is only the signal.
        reason = record.get("error") if status != "interrupted" else None
        reason = f": {reason}" if reason else ""
        warnings.append(f"The run did not finish ({status}{reason}).")
    if not metrics:
        warnings.append("There are no scores: the run has no metrics.json.")
    return warnings


def _answer(
    record: Mapping[str, Any], metrics: Mapping[str, float], main: Mapping[str, str]
) -> str:
    split = "test" if any(key.startswith("test/") for key in metrics) else "val"
    scores = {task: metrics.get(f"{split}/{task}/{name}") for task, name in main.items()}
    words = [
        f"{task} {main[task]} {number(score)}"
        for task, score in scores.items()
        if score is not None
    ]
    if not words:
        return f"No scores. Status of the run: {record.get('status', 'not recorded')}."
    return f"{'Test' if split == 'test' else 'Validation'}: {', '.join(words)}."


def _summary(record: Mapping[str, Any]) -> str:
    parts = []
    if is_number(record.get("steps")):
        parts.append(f"{record['steps']:,} optimizer steps")
    if is_number(record.get("fit_seconds")):
        parts.append(f"{duration(record['fit_seconds'])} of training")
    if record.get("device"):
        parts.append(f"on {record['device']}")
    return f"{', '.join(parts)}." if parts else ""


def _of_task(metrics: Mapping[str, float], split: str, task: str) -> dict[str, float]:
    """Return the metrics of a task and a split by name, without those of single entity types."""
    start = f"{split}/{task}/"
    return {
        key.removeprefix(start): value
        for key, value in metrics.items()
        if key.startswith(start) and key.count("/") == 2
    }


def _score_tables(metrics: Mapping[str, float], main: Mapping[str, str]) -> list[Table]:
    """Return the table of the main metrics, and that of all others."""
    rows: list[tuple[bool, Cells]] = []
    for task, main_metric in main.items():
        by_split = {split: _of_task(metrics, split, task) for split in ("val", "test")}
        for name in dict.fromkeys([main_metric, *by_split["val"], *by_split["test"]]):
            found = [by_split[split].get(name) for split in ("val", "test")]
            rows.append((name == main_metric, _score_cells(task, name, *found)))
    if len(main) > 1:
        found = [metrics.get(f"{split}/score") for split in ("val", "test")]
        rows.append((True, _score_cells("all", "score", *found)))
    known = [(is_main, row) for is_main, row in rows if {row["validation"], row["test"]} != {EMPTY}]
    words = ("task", "metric")
    tables = [
        Table("Main metric of each task", [row for is_main, row in known if is_main], words),
        Table("Other metrics", [row for is_main, row in known if not is_main], words, folded=True),
    ]
    return [table for table in tables if table.rows]


def _score_cells(task: str, metric: str, validation: float | None, test: float | None) -> Cells:
    return {
        "task": task,
        "metric": clipped(metric),
        "validation": number(validation),
        "test": number(test),
    }
