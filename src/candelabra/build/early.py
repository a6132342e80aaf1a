"""Build what needs no data, so that wrong settings and missing files are found early."""

from __future__ import annotations

from omegaconf import DictConfig

from candelabra.build.instantiate import Node, make
from candelabra.config.validation import training_tasks
from candelabra.data.unlabelled import check_unlabelled
from candelabra.errors import DataError, naming
from candelabra.records import TrainingProgress


def check_parts(cfg: DictConfig) -> None:
    """Check the sources, balancing, freeze scheme and adapter of a training.

    Args:
        cfg: A configuration that passed `validate`.

    Raises:
        ConfigError: A part refuses its settings.
        DataError: The files of a source are missing.
    """
    for name, task in cfg.tasks.items():
        check_source(str(name), task["source"])
        if task.get("unlabelled") is not None:
            check_unlabelled(task["unlabelled"], key=f"tasks.{name}.unlabelled")
    # Tasks of one example each are enough to check the settings of the shares.
    sizes = dict.fromkeys(training_tasks(cfg.tasks), 1)
    with naming("balancing.shares", cfg.balancing.shares):
        make(cfg.balancing.shares, "balancing.shares")(sizes, TrainingProgress())
    _check_freeze("freeze", cfg.freeze)
    with naming("adapter", cfg.adapter):
        make(cfg.adapter, "adapter").check()


def check_source(task: str, node: Node) -> None:
    """Check the settings of a task's source, and that its files exist.

    Args:
        task: Name of the task.
        node: Config node of its source.

    Raises:
        ConfigError: A setting is wrong.
        DataError: A file is missing.
    """
    key = f"tasks.{task}.source"
    try:
        with naming(key, node):
            make(node, key).check()
    except DataError as error:
        raise DataError(f"task '{task}': {error}") from error


def _check_freeze(key: str, node: Node) -> None:
    """Build the parts of a scheme before the scheme, so that an error names the part."""
    for name, part in node.get("parts", {}).items():
        _check_freeze(f"{key}.parts.{name}", part)
    make(node, key)
