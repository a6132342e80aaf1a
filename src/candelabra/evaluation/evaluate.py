"""Evaluation of a model with its heads, with few-shot probes of its embeddings, and on MTEB."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from candelabra import hardware
from candelabra.build.objectives import objectives
from candelabra.build.schedule import tokenize_tasks
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.rows.examples import to_examples
from candelabra.data.rows.shapes import TEXT_WITH_LABEL, shape_of
from candelabra.errors import ConfigError, naming
from candelabra.evaluation.mteb_tasks import checked_tasks, mteb_scores
from candelabra.evaluation.probe import few_shot_accuracy_of_texts
from candelabra.evaluation.subject import EvaluationTarget, evaluation_target
from candelabra.records import Examples
from candelabra.tables import Progress
from candelabra.training.callbacks.predictions import PredictionWriter
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import scores_of


def score_heads(
    subject: EvaluationTarget, cfg: DictConfig, output: Path | None
) -> dict[str, float]:
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
    splits = tokenize_tasks(data, bundle.tokenizer, cfg.cache_dir, nodes=headed)
    datamodule = MultiTaskDataModule(
        {task: {"test": found[cfg.split]} for task, found in splits.items()},
        eval_batch_size=cfg.eval_batch_size,
        num_workers=cfg.num_workers,
    )
    module = MultiTaskModule(bundle.model, objectives(headed, bundle.labels))
    progress = Progress("evaluating")
    callbacks: list[pl.Callback] = [_TestProgress(progress)]
    if output is not None:
        callbacks.append(PredictionWriter(output / "predictions", datamodule.split("test")))
    trainer = pl.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        precision=_precision(cfg),
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    with progress:
        trainer.test(module, datamodule=datamodule, verbose=False)
    found = {key.partition("/")[2]: value for key, value in scores_of(trainer, "test").items()}
    return {key: value for key, value in found.items() if key != "score"}


class _TestProgress(pl.Callback):
    """Callback that reports the evaluated batches."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Report the number of batches."""
        self.progress.update(0, int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *_: Any) -> None:
        """Report a batch."""
        self.progress.advance()


def check_probes(subject: EvaluationTarget, cfg: DictConfig) -> None:
    """Raise an error if a probe would be evaluated on its own training split.

    Raises:
        ConfigError: `cfg.split` is train, and a task has no head and can only be probed.
    """
    for name in subject.data.keys() - subject.headed:
        if cfg.split == "train":
            raise ConfigError(
                f"tasks.{name}: a probe learns from train, and split=train would judge it by that"
            )


def score_probe(subject: EvaluationTarget, cfg: DictConfig) -> dict[str, float]:
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


def check_mteb(subject: EvaluationTarget, cfg: DictConfig) -> None:
    """Raise an error early if the MTEB tasks cannot be evaluated.

    Raises:
        ConfigError: A task is unknown, mteb is not installed, or the model needs a task name.
        DataError: A file of a task is missing.
    """
    if cfg.mteb:
        checked_tasks(list(cfg.mteb), cfg.data_dir)
        with naming("mteb"):
            subject.bundle.embedder()


def mteb(subject: EvaluationTarget, cfg: DictConfig) -> dict[str, float]:
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


@dataclass(frozen=True)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
        metrics: Values by `<split>/<task>/<metric>`, `<split>/score` and `mteb/<task>/<score>`.
        text_hashes: SHA-256 of the evaluated texts of each task.
    """

    metrics: dict[str, float]
    text_hashes: dict[str, str]


def evaluate(
    cfg: DictConfig,
    bundle: str | None,
    output: Path | None,
    *,
    only: Collection[str] | None = None,
) -> EvaluationResult:
    """Compute the metrics of a model on one split of its tasks.

    Args:
        cfg: Configuration of the command.
        bundle: Folder of the bundle; `None` evaluates the pretrained encoder of the configuration.
        output: Folder for metrics and predictions; `None` writes nothing.
        only: Names of the evaluated tasks; `None` evaluates all tasks of the bundle or of the
            configuration.

    Raises:
        DataError: `output` cannot be written.
    """
    from candelabra.data.loading import texts_fingerprint
    from candelabra.files import write_json
    from candelabra.quiet import quiet

    quiet()
    subject = evaluation_target(cfg, bundle, only=only)
    check_mteb(subject, cfg)
    check_probes(subject, cfg)
    values = score_heads(subject, cfg, output) | score_probe(subject, cfg)
    name = "val" if cfg.split == "validation" else cfg.split
    metrics = {f"{name}/{key}": value for key, value in values.items()}
    main = [metrics[key] for key in subject.main_keys(name) if key in metrics]
    if main:
        metrics[f"{name}/score"] = sum(main) / len(main)
    metrics |= mteb(subject, cfg)
    if output is not None:
        write_json(output / "metrics.json", metrics)
    text_hashes = {
        task: texts_fingerprint(data.splits[cfg.split]) for task, data in subject.data.items()
    }
    return EvaluationResult(metrics, text_hashes)
