"""Config -> objects. Beside `reading` and the command line, the only importer of Hydra.

A node's `_target_` names a class or function; what is known only later (widths, labels, task
names) is given to it here.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger

from candelabra.data.collate import TokenizedSplit
from candelabra.data.loading import TaskData
from candelabra.data.schedule import Schedule
from candelabra.data.tokens import TextTokenizer, tokenize_cached
from candelabra.errors import ConfigError, naming, nearest
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads import Loss
from candelabra.model.multitask import MultiTaskModel, assemble, start_from_pooler
from candelabra.training.checkpoints import AtomicCheckpointIO
from candelabra.training.frozen_copy import FrozenCopy
from candelabra.training.interruption import StopOnSignal
from candelabra.training.judging import Objective
from candelabra.training.module import MultiTaskModule
from candelabra.training.run_folder import RunFolder
from candelabra.training.task_gradients import check_possible
from candelabra.transfer import start_from

Node = Mapping[str, Any]
TokenizedTasks = dict[str, dict[str, TokenizedSplit]]


def backbone(node: Node) -> Backbone:
    """The encoder and its tokenizer, not loaded yet."""
    return instantiate(node)


def tokenized_tasks(
    data: Mapping[str, TaskData], tokenizer: TextTokenizer, cache_dir: str | None
) -> TokenizedTasks:
    """Tokenises every split of every task, or takes its tokens from the cache."""
    folder = None if cache_dir is None else Path(cache_dir)
    return {
        name: {
            split: TokenizedSplit(
                examples=examples,
                texts=tokenize_cached(
                    examples,
                    tokenizer,
                    fingerprint=task.fingerprint[split],
                    cache_dir=folder,
                ),
                pad_id=tokenizer.pad_id,
            )
            for split, examples in task.splits.items()
        }
        for name, task in data.items()
    }


def schedule(cfg: Node, splits: TokenizedTasks) -> Schedule:
    """The schedule of the run; `trainer.limit_train_batches` shortens its epochs."""
    balancing = cfg["balancing"]
    make = functools.partial(
        Schedule,
        {task: encoded["train"].lengths for task, encoded in splits.items()},
        shares=instantiate(balancing["shares"]),
        step=instantiate(cfg["step"]["counts"]),
        epoch=balancing["epoch"],
        turns=balancing["turns"],
        batch_size=cfg["batch_size"],
        seed=cfg["seed"],
        num_epochs=cfg["trainer"]["max_epochs"],
        max_tokens={
            name: task["max_tokens"]
            for name, task in cfg["tasks"].items()
            if task.get("max_tokens") is not None
        },
    )
    limit, steps = cfg["trainer"]["limit_train_batches"], balancing["steps_per_epoch"]
    if isinstance(limit, float):
        limit = max(1, round(limit * make(steps_per_epoch=steps).steps_per_epoch))
    if limit is not None:
        steps = limit if steps is None else min(limit, steps)
    made = make(steps_per_epoch=steps)
    _check_validations(cfg["trainer"], made.steps_per_epoch)
    return made


def _check_validations(trainer: Node, steps_per_epoch: int) -> None:
    """Lightning would refuse it too, when everything is loaded and in other words."""
    interval, batches = (
        trainer["val_check_interval"],
        steps_per_epoch * trainer["accumulate_grad_batches"],
    )
    counts_epochs = trainer["check_val_every_n_epoch"] is not None
    if counts_epochs and isinstance(interval, int) and interval > batches:
        raise ConfigError(
            f"trainer.val_check_interval must be at most {batches}, the micro-batches of an "
            f"epoch, unless trainer.check_val_every_n_epoch=null; got {interval}"
        )


def model(
    cfg: Node, labels: Mapping[str, list[str]], encoder: Encoder, *, steps_per_epoch: int = 1
) -> MultiTaskModel:
    """Encoder, heads and poolings with the weights they start from, frozen as in the first step."""
    freezer = Freezer(instantiate(cfg["freeze"]), steps_per_epoch=steps_per_epoch)
    built = assemble(
        encoder,
        pooling=cfg["pooling"],
        tasks=cfg["tasks"],
        labels=labels,
        make=_partial,
        freezer=freezer,
    )
    start_from_pooler(built)
    if cfg["init_from"] is not None:
        built.origins = start_from(
            built,
            cfg["init_from"],
            config={
                key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("pooling", "tasks")
            },
            labels=labels,
            heads=cfg["init_heads"],
        )
    with naming("adapter"):
        instantiate(cfg["adapter"]).attach(encoder, list(cfg["tasks"]))
    with naming("freeze"):
        freezer.apply(built, 0)
        some_day = {id(parameter) for parameter in freezer.some_day_learning(built)}
    if encoder.adapters and not some_day & {id(parameter) for parameter in encoder.parameters()}:
        raise ConfigError(
            "the freeze option freezes all adapters, so the encoder would not learn at all: under "
            "adapters its own weights are fixed anyway; take freeze=none, or adapter=none"
        )
    return built


def _partial(node: Node) -> functools.partial[Any]:
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        raise ConfigError(f"the option with _target_ {node['_target_']} needs `_partial_: true`")
    return made


def objectives(
    tasks: Mapping[str, Node],
    labels: Mapping[str, list[str]],
    counts: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Objective]:
    """What each task is trained and judged by.

    Args:
        tasks: The tasks' nodes.
        labels: The label names of each task.
        counts: How often each label stands in the task's train split, for a loss that takes
            `counts`; None where nothing is trained.

    Raises:
        ConfigError: A task's main metric is none of its metrics.
    """
    return {
        name: _objective(name, task, labels[name], None if counts is None else counts[name])
        for name, task in tasks.items()
    }


def _loss(node: Node, counts: Sequence[int] | None) -> Loss:
    """A loss that takes `counts` gets those of the task; no other rule."""
    made = instantiate(node)
    takes = "counts" in inspect.signature(made).parameters
    return functools.partial(made, counts=counts) if takes and counts is not None else made


def _objective(name: str, task: Node, labels: list[str], counts: Sequence[int] | None) -> Objective:
    metrics = instantiate(task["metrics"])(labels=labels)
    with warnings.catch_warnings():
        # It says that nothing was counted yet; only the names are wanted.
        warnings.simplefilter("ignore", UserWarning)
        known = list(metrics.compute())
    metrics.reset()
    main = task["main_metric"]
    if main not in known:
        options = ", ".join(key for key in known if "/" not in key)
        raise ConfigError(
            f"tasks.{name}.main_metric must be one of {options}; got {main!r}{nearest(main, known)}"
        )
    return Objective(
        loss=_loss(task["loss"], counts),
        loss_weight=task.get("loss_weight", 1.0),
        metrics=metrics,
        main_metric=main,
    )


def _fitting_objectives(
    tasks: Mapping[str, Node], built: MultiTaskModel, data: Mapping[str, TaskData]
) -> dict[str, Objective]:
    labels = {name: task.labels for name, task in data.items()}
    found = objectives(tasks, labels, {name: task.counts for name, task in data.items()})
    for name, objective in found.items():
        head, columns = built.head(name), tasks[name]["columns"]
        if head.learns is not None and head.learns not in columns:
            raise ConfigError(
                f"tasks.{name}.head is a {type(head).__name__}, which learns from {head.learns}; "
                f"tasks.{name}.columns name {', '.join(columns)}"
            )
        try:
            head.check(objective.loss)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"tasks.{name}.loss: {error}; a {type(head).__name__} takes loss@tasks.{name}.loss="
                f"{', '.join(head.takes)}"
            ) from error
    return found


def module(
    cfg: Node, built: MultiTaskModel, data: Mapping[str, TaskData], total_steps: int
) -> MultiTaskModule:
    """The LightningModule of a training run.

    Raises:
        ConfigError: A task's head does not fit its data, or its loss does not fit its
            head; or the weighting cannot work with the
            step, the freeze option or the precision.
    """
    judged = _fitting_objectives(cfg["tasks"], built, data)
    with naming("weighting"):
        weighting = instantiate(cfg["weighting"])(
            tasks={name: built.head(name).num_choices for name in data}
        )
        check_possible(
            weighting,
            built,
            idle_heads=cfg["step"]["idle_heads"],
            precision=cfg["trainer"]["precision"],
            total_steps=total_steps,
        )
    weight = cfg["distill_frozen"]
    return MultiTaskModule(
        built,
        judged,
        weighting=weighting,
        optimizer=instantiate(cfg["optimizer"]),
        scheduler=instantiate(cfg["scheduler"]),
        total_steps=total_steps,
        seed=cfg["seed"],
        frozen_copy=FrozenCopy(built, weight=weight) if weight else None,
    )


def trainer(cfg: Node, *, precision: str, record: RunFolder) -> pl.Trainer:
    """The Lightning trainer with the run's callbacks and loggers."""
    callbacks = [instantiate(node) for node in cfg["callbacks"].values() if node is not None]
    callbacks.append(StopOnSignal(f"candelabra train resume={record.path}"))
    loggers = [_logger(node, cfg, record) for node in cfg["logger"].values() if node is not None]
    return instantiate(
        cfg["trainer"],
        precision=precision,
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        limit_train_batches=1.0,  # the schedule has shortened the epoch already
        enable_progress_bar=any(isinstance(item, ProgressBar) for item in callbacks),
        default_root_dir=str(record.path),
    )


def _logger(node: Node, cfg: Node, record: RunFolder) -> Logger:
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        return made
    # A tracker wants to know the run that it belongs to.
    return made(
        save_dir=cfg["paths"]["output_dir"],
        run_dir=record.path,
        name=record.path.name,
        id=record.run_id,
        group=cfg["group"],
        job_type="train",
        tags=list(cfg["tags"]),
    )
