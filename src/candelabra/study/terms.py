"""The terms that all arms of a study share: rows, tasks, and how often each task is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from candelabra.config.validation import training_tasks
from candelabra.errors import ConfigError
from candelabra.evaluation.row_scores import KINDS
from candelabra.study.composing import checked, composed

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from candelabra.data.loading import TaskData
    from candelabra.data.mixing.schedule import Schedule
    from candelabra.records import Examples

TIMED_TEXTS = 32
"""Number of texts of each task on which the models of the arms are timed."""


@dataclass(frozen=True)
class Exposure:
    """Training of one task in a run of all tasks.

    Attributes:
        examples: Number of examples of the task, counted with repetition.
        steps: Number of optimizer steps that contain the task.
    """

    examples: int
    steps: int


@dataclass(frozen=True)
class Terms:
    """The terms of a study.

    Attributes:
        overrides: Overrides of `candelabra train` for all arms.
        tasks: Names of all tasks, in the order of the configuration.
        main_metrics: Main metric of each trained task.
        exposures: Exposure of each trained task.
        num_test_rows: Number of test rows of each trained task.
        texts: Some test texts of each trained task, on which the models are timed.
        epochs: Number of epochs of a run.
    """

    overrides: tuple[str, ...]
    tasks: tuple[str, ...]
    main_metrics: Mapping[str, str]
    exposures: Mapping[str, Exposure]
    num_test_rows: Mapping[str, int]
    texts: tuple[str, ...]
    epochs: int

    def equal(self) -> list[str]:
        """Return the settings that are equal in all arms, in words."""
        drawn = ", ".join(f"{task} {one.examples:,}" for task, one in self.exposures.items())
        return [
            "training, validation and test rows of each task",
            f"training examples of each task, counted with repetition: {drawn}",
            "the seeds",
            "selection of the weights by the best validation score",
        ]


def read_terms(overrides: Sequence[str], *, rows: int | None = None) -> Terms:
    """Read the data of the tasks, and return the terms of a study.

    Args:
        overrides: Overrides of `candelabra train` for all arms.
        rows: Number of training rows to keep of the smallest task; `None` keeps all.

    Raises:
        ConfigError: A setting is wrong, or the test scores of a task cannot be compared.
        DataError: A file or a row of a task is invalid.
    """
    words = list(overrides)
    cfg = checked("the study", words)
    data = read_data(cfg)
    schedule = read_schedule(cfg, data)
    if rows is not None:
        small = min(training_tasks(cfg.tasks), key=lambda task: schedule.sizes[task])
        words.append(f"++tasks.{small}.limit.train={rows}")
        cfg = composed(words)
        data = read_data(cfg)
        schedule = read_schedule(cfg, data)
    tests = {name: data[name].splits.get("test") for name in training_tasks(cfg.tasks)}
    _check_tests(cfg, tests)
    return Terms(
        overrides=tuple(words),
        tasks=tuple(map(str, cfg.tasks)),
        main_metrics={task: cfg.tasks[task].main_metric for task in training_tasks(cfg.tasks)},
        exposures=exposures(schedule),
        num_test_rows={name: len(rows or ()) for name, rows in tests.items()},
        texts=tuple(
            text for rows in tests.values() if rows for text in rows.texts[0][:TIMED_TEXTS]
        ),
        epochs=cfg.trainer.max_epochs,
    )


def _check_tests(cfg: DictConfig, tests: Mapping[str, Examples | None]) -> None:
    """Check, before anything is trained, that the runs will have test scores to compare."""
    if not cfg.test:
        raise ConfigError("test=false: a study compares the test scores of its runs")
    for task, rows in tests.items():
        if not rows:
            raise ConfigError(
                f"tasks.{task}: a study compares test scores, and its source has no test split"
            )
        if (metric := cfg.tasks[task].main_metric) not in KINDS:
            raise ConfigError(
                f"tasks.{task}.main_metric={metric}: a study needs a metric that is counted row by "
                f"row, one of {', '.join(KINDS)}"
            )


def read_data(cfg: DictConfig) -> dict[str, TaskData]:
    """Read the rows of all tasks of a run.

    Args:
        cfg: Configuration of the run.
    """
    from candelabra.build.rows import tasks_data
    from candelabra.config.messages import building

    with building():
        return tasks_data(cfg.tasks)


def read_schedule(cfg: DictConfig, data: Mapping[str, TaskData]) -> Schedule:
    """Return the schedule of a run.

    Args:
        cfg: Configuration of the run.
        data: Rows of all tasks.
    """
    from candelabra.build.model import build_backbone, load_tokenizer
    from candelabra.build.objectives import objectives
    from candelabra.build.schedule import tokenize_tasks
    from candelabra.config.messages import building
    from candelabra.run.parts import schedule_of

    with building():
        tokenizer = load_tokenizer(build_backbone(cfg.encoder), cfg.encoder)
        splits = tokenize_tasks(data, tokenizer, cfg.paths.cache_dir, nodes=cfg.tasks)
        losses = objectives(
            cfg.tasks,
            {name: task.labels for name, task in data.items()},
            {name: task.counts for name, task in data.items()},
        )
        learns = training_tasks(cfg.tasks)
        return schedule_of(cfg, {name: splits[name]["train"] for name in learns}, losses)


def exposures(schedule: Schedule) -> dict[str, Exposure]:
    """Return the exposure of each task in a run of all tasks.

    Args:
        schedule: Schedule of that run.
    """
    examples: dict[str, int] = {}
    steps: dict[str, int] = {}
    for step in range(schedule.total_steps):
        for task, rows in schedule.batch(step).items():
            examples[task] = examples.get(task, 0) + len(rows)
            steps[task] = steps.get(task, 0) + bool(len(rows))
    return {task: Exposure(examples[task], steps[task]) for task in examples if steps[task]}
