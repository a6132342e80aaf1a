"""Rules that concern several keys of a configuration; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from candelabra.checks import at_least
from candelabra.config.interpolations import check_interpolations
from candelabra.config.keys import check_known_keys
from candelabra.config.ranges import check_ranges
from candelabra.config.schema import SCHEMAS, command_of
from candelabra.config.targets import NAME
from candelabra.data.rows.shapes import CROSSED
from candelabra.errors import ConfigError, nearest

ANSWER_KEYS = ("text",)
"""Keys of a prediction that are not names of tasks: no task can have such a name."""

GROUPS = (
    "encoder",
    "pooling",
    "adapter",
    "freeze",
    "balancing",
    "step",
    "weighting",
    "distillation",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "paths",
)

DATA_KEYS = (
    "columns",
    "labels",
    "limit",
    "validation",
    "split_seed",
    "on_bad_row",
    "missing_labels",
    "score_range",
    "unlabelled",
)
"""Keys of a task that say how its rows are read."""

TASK_KEYS = (
    "source",
    *DATA_KEYS,
    "train",
    "cross",
    "head",
    "pooling",
    "layer_mix",
    "loss",
    "loss_weight",
    "metrics",
    "main_metric",
    "max_tokens",
)

PARTS = {"head": "head", "loss": "loss", "pooling": "+pooling"}
"""Keys of a task that take an option of a group -> the word of an override that chooses it."""


def validate(cfg: DictConfig) -> None:
    """Check what Hydra does not: unknown keys, ranges, and rules of several keys.

    Raises:
        ConfigError: A rule is broken.
    """
    _check_resolves(cfg)
    _check_keys(cfg)
    check_ranges(cfg)
    accumulate = cfg.trainer.accumulate_grad_batches
    _check_limits(cfg)
    if not cfg.tasks:
        raise ConfigError("tasks must hold at least one task: +task@tasks.NAME=OPTION adds one")
    num_trained = len(training_tasks(cfg.tasks))
    if not num_trained:
        names = ", ".join(map(str, cfg.tasks))
        raise ConfigError(f"no task is trained: train is false for {names}")
    if cfg.batch_size < num_trained * accumulate:
        raise ConfigError(
            f"batch_size must be at least the tasks ({num_trained}) times "
            f"trainer.accumulate_grad_batches ({accumulate}), got {cfg.batch_size}"
        )
    for name, task in cfg.tasks.items():
        validate_task(str(name), task)
        if task.get("max_tokens") is not None:
            # A batch must have room for one text of full length.
            at_least(f"tasks.{name}.max_tokens", task.max_tokens, cfg.encoder.max_length)
    if cfg.balancing.epoch == "steps" and cfg.balancing.steps_per_epoch is None:
        raise ConfigError("balancing.epoch=steps needs balancing.steps_per_epoch=NUMBER")
    _check_freeze("freeze", cfg.freeze, cfg.tasks)
    _check_start(cfg)
    _check_monitors(cfg)


def _check_monitors(cfg: DictConfig) -> None:
    """Raise ConfigError for a callback whose monitored key no run logs.

    The metrics of a task are known only after its data are read, so they are checked later.
    """
    known = [
        "val/score",
        "train/loss",
        *(f"train/{name}/loss" for name in training_tasks(cfg.tasks)),
    ]
    of_tasks = [f"val/{name}/METRIC" for name in cfg.tasks]
    for name, callback in cfg.callbacks.items():
        monitor = None if callback is None else callback.get("monitor")
        of_task = monitor is not None and any(
            monitor.startswith(key.removesuffix("METRIC")) for key in of_tasks
        )
        if monitor is not None and monitor not in known and not of_task:
            raise ConfigError(
                f"callbacks.{name}.monitor must be one of {', '.join([*known, *of_tasks])}, got "
                f"{monitor!r}{nearest(monitor, known)}"
            )


def training_tasks(tasks: Mapping[str, Any]) -> list[str]:
    """Return the names of the tasks that are trained; the others are only evaluated."""
    # `validate_task` refuses a task that is not a mapping.
    return [
        str(name)
        for name, task in tasks.items()
        if not hasattr(task, "get") or task.get("train", True)
    ]


def _check_keys(cfg: DictConfig) -> None:
    names = [item.name for item in fields(SCHEMAS[command_of(cfg)])]
    check_known_keys("the configuration", cfg, names)
    for name in names:
        if name not in cfg:
            raise ConfigError(f"{name} must not be dropped (~{name}); set it to another value")
    for group in GROUPS:
        if not isinstance(cfg[group], DictConfig):
            raise ConfigError(f"{group} must be an option of its group, got {cfg[group]!r}")


def _check_freeze(where: str, node: DictConfig, tasks: Iterable[str]) -> None:
    """Raise ConfigError if a scheme or one of its parts freezes the head of no task."""
    frozen = node.get("head")
    if frozen is not None and frozen not in tasks:
        raise ConfigError(
            f"{where}.head must be one of the tasks {list(tasks)}, got {frozen!r}"
            + nearest(frozen, tasks)
        )
    for name, part in node.get("parts", {}).items():
        _check_freeze(f"{where}.parts.{name}", part, tasks)


def _check_start(cfg: DictConfig) -> None:
    if cfg.distill_frozen and cfg.adapter.get("per_task"):
        raise ConfigError(
            "distill_frozen needs an encoder that all tasks share; with adapter=lora_per_task a "
            "frozen head keeps its own adapter, which no other task changes"
        )
    if cfg.init_heads is not None and cfg.init_from is None:
        raise ConfigError("init_heads chooses heads of a bundle: it needs init_from=BUNDLE")


def _check_limits(cfg: DictConfig) -> None:
    for key in ("limit_val_batches", "limit_test_batches"):
        limit = cfg.trainer[key]
        if isinstance(limit, int) and 0 < limit < len(cfg.tasks):
            raise ConfigError(
                f"trainer.{key} counts the batches of all tasks: it must be 0 or at least "
                f"{len(cfg.tasks)}, got {limit}"
            )


def validate_task(name: str, task: Any) -> None:
    """Check the settings of one task.

    Raises:
        ConfigError: A key is unknown or missing, or its value is wrong.
    """
    where = f"tasks.{name}"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a task's name must match {NAME.pattern}")
    if name in ANSWER_KEYS:
        raise ConfigError(f"{where}: '{name}' is a key of every answer; give the task another name")
    if not isinstance(task, DictConfig):
        raise ConfigError(f"{where} must be a task's settings, got {task!r}")
    check_known_keys(where, task, TASK_KEYS)
    for key in ("source", "columns", "head", "loss", "metrics"):
        if task.get(key) is None:
            raise ConfigError(
                f"{where} has no {key}. A task comes whole from `task@tasks.{name}=OPTION`; "
                f"a value that an experiment, a preset or the command line sets under {where} does "
                "not make a task by itself"
            )
    for key, word in PARTS.items():
        if key in task and not isinstance(task[key], DictConfig):
            raise ConfigError(
                f"{where}.{key} must be settings, got {task[key]!r}; an option is chosen by "
                f"{word}@{where}.{key}={task[key]}"
            )
    if task.get("unlabelled") is not None and "positive" in task.columns:
        raise ConfigError(
            f"{where}.unlabelled must be null where columns name {', '.join(task.columns)}: such "
            "rows have no label that could be missing"
        )
    if task.get("cross") and set(task.columns) not in map(set, CROSSED):
        shapes = " or ".join("{" + ", ".join(roles) + "}" for roles in CROSSED)
        raise ConfigError(
            f"{where}.cross puts two texts into one sequence: columns must name {shapes}, found "
            f"{{{', '.join(map(str, task.columns))}}}"
        )


def _check_resolves(cfg: DictConfig) -> None:
    """Raise ConfigError if an interpolation does not resolve or a `???` has no value."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        given = " ".join(f"{key}=VALUE" for key in missing)
        raise ConfigError(f"{missing[0]} must be given: add {given}")
    check_interpolations(cfg)
