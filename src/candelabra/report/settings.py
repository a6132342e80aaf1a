"""The most important settings of a run, in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from candelabra.config.schema import command_of
from candelabra.config.targets import TARGET
from candelabra.report.formats import clipped

NODES = {
    "encoder": "encoder",
    "method": "method",
    "pooling": "pooling",
    "adapter": "adapter",
    "freeze": "freeze",
    "shares of the tasks": "balancing.shares",
    "tasks in a step": "step.counts",
    "weighting": "weighting",
    "optimizer": "optimizer",
    "schedule of the learning rate": "scheduler",
    "batch size": "batch_size",
    "epochs": "trainer.max_epochs",
    "started from": "init_from",
    "teacher": "teacher",
    "learning from the teacher": "distillation",
}
"""Label on the page -> key of the configuration."""
OF_PRETRAINING = frozenset(
    ["encoder", "method", "optimizer", "schedule of the learning rate", "batch size", "epochs"]
)
"""Labels of the settings that a pre-training reads."""
OF_A_TASK = {"head": "head", "loss": "loss", "weight of the loss": "loss_weight"}


def facts_of(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return label and value of each setting that is known."""
    facts = [(label, _words(_at(config, key))) for label, key in NODES.items()]
    tasks = config.get("tasks")
    if is_pretraining(config):
        names = ", ".join(map(str, tasks)) if isinstance(tasks, Mapping) else ""
        facts = [(label, value) for label, value in facts if label in OF_PRETRAINING]
        return [*facts, ("texts of", clipped(names))]
    if config.get("teacher") is None:
        facts = [(label, value) for label, value in facts if "teacher" not in label]
    for task, settings in tasks.items() if isinstance(tasks, Mapping) else ():
        parts = [(label, _words(_at(settings, key))) for label, key in OF_A_TASK.items()]
        words = "; ".join(f"{label} {value}" for label, value in parts if value)
        facts.append((f"task {task}", clipped(words)))
    return [(label, value) for label, value in facts if value]


def is_pretraining(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is that of `candelabra pretrain`."""
    return command_of(config) == "pretrain"


def typed_again(record: Mapping[str, Any], command: str) -> str:
    """Return the command that repeats the run; empty if its overrides are not recorded.

    Args:
        record: Content of `run.json`.
        command: Command of the run, `train` or `pretrain`.
    """
    words = record.get("overrides")
    folders = record.get("config_dirs")
    if not isinstance(words, list):
        return ""
    flags = [f"--config-dir={folder}" for folder in folders] if isinstance(folders, list) else []
    return shlex.join(["candelabra", command, *map(str, words), *flags])


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _words(node: Any) -> str:
    """Return a value as text, or for a node the name of its target with its plain settings."""
    if node is None:
        return ""
    if not isinstance(node, Mapping):
        return clipped(str(node))
    name = str(node.get(TARGET, "")).rpartition(".")[2]
    plain = [
        f"{key}={value}"
        for key, value in node.items()
        if isinstance(value, (str, int, float)) and key not in (TARGET, "_partial_")
    ]
    return clipped(f"{name} ({', '.join(plain)})" if plain else name)
