"""Evaluation of a model with its heads, with few-shot probes of its embeddings, and on MTEB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from candelabra import build, hardware
from candelabra.bundle import Bundle
from candelabra.data.examples import to_examples
from candelabra.data.loading import TaskData
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.shapes import TEXT_WITH_LABEL, shape_of
from candelabra.embedding.mteb_tasks import checked_tasks, mteb_scores
from candelabra.embedding.probe import few_shot_accuracy_of_texts
from candelabra.errors import ConfigError, naming
from candelabra.model.heads import Head
from candelabra.model.multitask import MultiTaskModel, assemble, start_from_pooler
from candelabra.model.pooling import ClsPooler
from candelabra.objectives import objectives
from candelabra.records import Examples
from candelabra.training.judging import scores_of
from candelabra.training.module import MultiTaskModule
from candelabra.training.predictions import PredictionWriter


@dataclass(frozen=True)
class Subject:
    """Model and tasks to evaluate.

    Attributes:
        bundle: Bundle with the model.
        tasks: Configuration of each task.
        data: Data of each task, with the evaluated split.
        headed: Names of the tasks that the model has a head for. Other tasks are only probed.
    """

    bundle: Bundle
    tasks: dict[str, Any]
    data: dict[str, TaskData]
    headed: set[str]

    def main_keys(self, split: str) -> list[str]:
        """Return the keys of the tasks' main metrics, as `<split>/<task>/<metric>`."""
        metric = {
            name: task["main_metric"] if name in self.headed else "few_shot_accuracy"
            for name, task in self.tasks.items()
        }
        return [f"{split}/{name}/{key}" for name, key in metric.items()]


def untrained(cfg: DictConfig, tasks: dict[str, Any], data: dict[str, TaskData]) -> Subject:
    """Construct a model without training, with the heads that have no parameters.

    Args:
        cfg: Configuration with the groups `encoder` and `pooling`.
        tasks: Configuration of each task.
        data: Data of each task.

    Raises:
        ConfigError: A task needs a trained head and cannot be probed, or the pooling has untrained
            weights.
    """
    backbone = instantiate(cfg.encoder)
    tokenizer, encoder = backbone.tokenizer(), backbone.load()
    labels = {name: data[name].labels for name in tasks if name in data}
    headed = set()
    for name, node in tasks.items():
        with naming(f"tasks.{name}.head"):
            if name in labels and not _learns(node["head"], labels[name], encoder.width):
                headed.add(name)
    for name in labels.keys() - headed:
        if shape_of(tasks[name]["columns"]) != TEXT_WITH_LABEL:
            raise ConfigError(
                f"tasks.{name}: its head needs training, and its data are not labelled texts, "
                "which a probe could judge: give bundle=FOLDER in place of encoder"
            )
    kept = {name: tasks[name] for name in headed}
    model = assemble(encoder, pooling=cfg.pooling, tasks=kept, labels=labels, make=instantiate)
    _check_poolings(model)
    start_from_pooler(model)
    config = {"pooling": cfg.pooling, "normalize": cfg.get("normalize") is not False, "tasks": kept}
    return Subject(Bundle(model.eval(), tokenizer, config, labels, {}), tasks, data, headed)


def _learns(node: Mapping[str, Any], labels: list[str], width: int) -> bool:
    head: Head = instantiate(node)(width=width, labels=labels)
    return any(True for _ in head.parameters())


def _check_poolings(model: MultiTaskModel) -> None:
    """Raise `ConfigError` if a pooling has untrained weights, which would be random."""
    for pooling in (model.pooling, *model.poolings.values()):
        taken_over = isinstance(pooling, ClsPooler) and model.encoder.pooler is not None
        if list(pooling.parameters()) and not taken_over:
            raise ConfigError(
                f"pooling: {type(pooling).__name__} has weights of its own, and an encoder without "
                "training brings none for them: choose another pooling, or give bundle=FOLDER"
            )


def tested(subject: Subject, cfg: DictConfig, output: Path | None) -> dict[str, float]:
    """Evaluate the tasks that the model has heads for.

    Args:
        subject: Model and tasks.
        cfg: Configuration of the evaluation.
        output: Folder for the predictions, or `None` to discard them.

    Returns:
        Metrics by the key `<task>/<metric>`.
    """
    bundle = subject.bundle
    headed = {name: task for name, task in subject.tasks.items() if name in subject.headed}
    data = {name: found for name, found in subject.data.items() if name in headed}
    if not data:
        return {}
    splits = build.tokenized_tasks(data, bundle.tokenizer, cfg.cache_dir, nodes=headed)
    datamodule = MultiTaskDataModule(
        {task: {"test": found[cfg.split]} for task, found in splits.items()},
        eval_batch_size=cfg.eval_batch_size,
        num_workers=cfg.num_workers,
    )
    module = MultiTaskModule(bundle.model, objectives(headed, bundle.labels))
    callbacks: list[pl.Callback] = [pl.callbacks.RichProgressBar()]
    if output is not None:
        callbacks.append(PredictionWriter(output / "predictions", datamodule.split("test")))
    trainer = pl.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        precision=_precision(cfg),
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
    )
    trainer.test(module, datamodule=datamodule, verbose=False)
    found = {key.partition("/")[2]: value for key, value in scores_of(trainer, "test").items()}
    return {key: value for key, value in found.items() if key != "score"}


def check_probes(subject: Subject, cfg: DictConfig) -> None:
    """Raise an error if a probe would be evaluated on its own training split.

    Raises:
        ConfigError: `cfg.split` is train, and a task has no head and can only be probed.
    """
    for name in subject.data.keys() - subject.headed:
        if cfg.split == "train":
            raise ConfigError(
                f"tasks.{name}: a probe learns from train, and split=train would judge it by that"
            )


def probed(subject: Subject, cfg: DictConfig) -> dict[str, float]:
    """Compute the few-shot accuracy of labelled-text tasks without a trained head.

    Args:
        subject: Model and tasks.
        cfg: Configuration of the evaluation. If its split is train, nothing is computed, because
            probes are fitted on this split.

    Returns:
        Accuracies by the key `<task>/few_shot_accuracy`.
    """
    bundle, found = subject.bundle, {}
    for name, data in subject.data.items() if cfg.split != "train" else ():
        trained = name in subject.headed and list(bundle.model.head(name).parameters())
        if trained or shape_of(subject.tasks[name]["columns"]) != TEXT_WITH_LABEL:
            continue
        test = data.splits[cfg.split]
        train = _train_of(subject.tasks[name], data.labels, held_out=test, split=cfg.split)
        embedder = bundle.embedder(name if name in subject.headed else None)
        bundle.model.to(hardware.device_type(cfg.accelerator))
        embed = partial(embedder.embed, batch_size=cfg.eval_batch_size, precision=_precision(cfg))
        found[f"{name}/few_shot_accuracy"] = few_shot_accuracy_of_texts(
            embed, train=(train.texts[0], train.labels), test=(test.texts[0], test.labels)
        )
    return found


def _train_of(
    task: Mapping[str, Any], labels: list[str], *, held_out: Examples, split: str
) -> Examples:
    """Read the source's train split, without rows that were held out for validation."""
    source = instantiate(task["source"])
    rules = {key: task[key] for key in ("on_bad_row", "missing_labels") if key in task}
    rules["named"] = task.get("inferred", False) or task.get("labels") is None
    examples, _ = to_examples(source.read("train"), task["columns"], labels, **rules)
    if split != "validation" or source.read("validation") is not None:
        return examples
    carved = set(held_out.rows)
    return examples.take([i for i, row in enumerate(examples.rows) if row not in carved])


def check_mteb(subject: Subject, cfg: DictConfig) -> None:
    """Raise an error early if the MTEB tasks cannot be evaluated.

    Raises:
        ConfigError: A task is unknown, mteb is not installed, or the model needs a task name.
        DataError: A file of a task is missing.
    """
    if cfg.mteb:
        checked_tasks(list(cfg.mteb), cfg.data_dir)
        with naming("mteb"):
            subject.bundle.embedder()


def mteb(subject: Subject, cfg: DictConfig) -> dict[str, float]:
    """Evaluate the model on the MTEB tasks of the configuration.

    Returns:
        Main scores by the key `mteb/<task>/<score>`, empty if `cfg.mteb` is empty.
    """
    if not cfg.mteb:
        return {}
    subject.bundle.model.to(hardware.device_type(cfg.accelerator))
    return mteb_scores(
        subject.bundle.embedder(),
        list(cfg.mteb),
        cfg.data_dir,
        batch_size=cfg.eval_batch_size,
        precision=_precision(cfg),
    )


def _precision(cfg: DictConfig) -> Any:
    return hardware.precision(cfg.precision, hardware.device_type(cfg.accelerator))
