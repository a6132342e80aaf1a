"""Construction of a run's objects from its config.

Only this module, `reading` and the command line import Hydra. The `_target_` of a config node names
a class or function; arguments that the config does not know (widths, labels, task names) are passed
here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger

from candelabra.data.collate import TokenizedSplit
from candelabra.data.loading import TaskData
from candelabra.data.order import Draws
from candelabra.data.schedule import Schedule
from candelabra.data.tokens import TextTokenizer, tokenize_cached
from candelabra.errors import ConfigError, naming
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel, assemble, start_from_pooler
from candelabra.objective.contrastive import rule_of
from candelabra.objectives import fitting_objectives
from candelabra.training.checkpoints import AtomicCheckpointIO
from candelabra.training.frozen_copy import FrozenCopy
from candelabra.training.interruption import StopOnSignal
from candelabra.training.module import MultiTaskModule
from candelabra.training.run_folder import RunFolder
from candelabra.training.task_gradients import check_possible
from candelabra.transfer import start_from
from candelabra.validation import learning

Node = Mapping[str, Any]
TokenizedTasks = dict[str, dict[str, TokenizedSplit]]


def backbone(node: Node) -> Backbone:
    """Build the backbone without loading its encoder or tokenizer."""
    return instantiate(node)


def tokenized_tasks(
    data: Mapping[str, TaskData],
    tokenizer: TextTokenizer,
    cache_dir: str | None,
    *,
    nodes: Mapping[str, Node],
) -> TokenizedTasks:
    """Tokenize every split of every task, or load its tokens from the cache.

    Args:
        data: Data of each task.
        tokenizer: Tokenizer of the run.
        cache_dir: Folder of the token cache. `None` disables the cache.
        nodes: Config node of each task; `cross: true` encodes the texts of a pair as one sequence.

    Raises:
        ConfigError: If the tokenizer cannot encode a pair as one sequence.
    """
    folder = None if cache_dir is None else Path(cache_dir)
    found = {}
    for name, task in data.items():
        with naming(f"tasks.{name}"):
            found[name] = {
                split: TokenizedSplit(
                    examples=examples,
                    texts=tokenize_cached(
                        examples,
                        tokenizer,
                        fingerprint=task.fingerprint[split],
                        cache_dir=folder,
                        cross=nodes[name].get("cross", False),
                    ),
                    pad_id=tokenizer.pad_id,
                )
                for split, examples in task.splits.items()
            }
    return found


def schedule(cfg: Node, splits: TokenizedTasks) -> Schedule:
    """Build the schedule of the trained tasks.

    `trainer.limit_train_batches` shortens its epochs.
    """
    balancing = cfg["balancing"]
    splits = {name: splits[name] for name in learning(cfg["tasks"])}
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
        max_tokens=_max_tokens(cfg, splits),
        arrange=_arrangements(cfg["tasks"], splits),
    )
    limit, steps = cfg["trainer"]["limit_train_batches"], balancing["steps_per_epoch"]
    if isinstance(limit, float):
        limit = max(1, round(limit * make(steps_per_epoch=steps).steps_per_epoch))
    if limit is not None:
        steps = limit if steps is None else min(limit, steps)
    made = make(steps_per_epoch=steps)
    _check_validations(cfg["trainer"], made.steps_per_epoch)
    return made


def _max_tokens(cfg: Node, splits: TokenizedTasks) -> dict[str, int]:
    """Return the token budget per text column, since pairs have two texts and triplets three."""
    found = {}
    for name, encoded in splits.items():
        budget, num_texts = cfg["tasks"][name].get("max_tokens"), len(encoded["train"].texts)
        if budget is None:
            continue
        found[name] = budget // num_texts
        if found[name] < cfg["encoder"]["max_length"]:
            raise ConfigError(
                f"tasks.{name}.max_tokens must hold an example of {num_texts} texts of "
                f"encoder.max_length={cfg['encoder']['max_length']} tokens each, got {budget}"
            )
    return found


def _arrangements(
    tasks: Mapping[str, Node], splits: TokenizedTasks
) -> dict[str, Callable[..., Draws]]:
    """Return the functions that select the examples of a step, for losses that need one."""
    found: dict[str, Callable[..., Draws]] = {}
    for name, encoded in splits.items():
        arrange = rule_of(instantiate(tasks[name]["loss"])).arrange
        if arrange is None:
            continue
        if tasks[name].get("max_tokens") is not None:
            raise ConfigError(
                f"tasks.{name}.max_tokens cannot be kept with a loss that chooses which examples "
                "share a step"
            )
        examples = encoded["train"].examples
        found[name] = functools.partial(arrange, examples=examples)
    return found


def _check_validations(trainer: Node, steps_per_epoch: int) -> None:
    """Raise ConfigError if the validation interval exceeds an epoch.

    Lightning would raise too, but only after everything is loaded and without naming our keys.
    """
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
    """Build the model with its initial weights, frozen as in the first step."""
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
        ever_trained = {id(parameter) for parameter in freezer.some_day_learning(built)}
    if encoder.adapters and not ever_trained & {
        id(parameter) for parameter in encoder.parameters()
    }:
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


def module(
    cfg: Node, built: MultiTaskModel, data: Mapping[str, TaskData], total_steps: int
) -> MultiTaskModule:
    """Build the LightningModule of a training run.

    Raises:
        ConfigError: If a head does not fit the task's data, a loss does not fit its head, or the
            weighting is incompatible with the step, freeze option or precision.
    """
    judged = fitting_objectives(cfg, built, data)
    with naming("weighting"):
        weighting = instantiate(cfg["weighting"])(
            tasks={name: built.head(name).num_choices for name in learning(cfg["tasks"])}
        )
        check_possible(
            weighting,
            built,
            idle_heads=cfg["step"]["idle_heads"],
            precision=cfg["trainer"]["precision"],
            total_steps=total_steps,
        )
    weight = cfg["distill_frozen"]
    for name in data:
        if weight and built.head(name).part_size is not None:
            raise ConfigError(
                f"tasks.{name}.head.part_size encodes a step in parts, and distill_frozen needs it "
                "whole: take head=embedding, or distill_frozen=0"
            )
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
    """Build the Lightning trainer with the run's callbacks and loggers."""
    callbacks = [instantiate(node) for node in cfg["callbacks"].values() if node is not None]
    callbacks.append(StopOnSignal(f"candelabra train resume={record.path}"))
    loggers = [_logger(node, cfg, record) for node in cfg["logger"].values() if node is not None]
    return instantiate(
        cfg["trainer"],
        precision=precision,
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        limit_train_batches=1.0,  # The schedule has already applied the limit.
        enable_progress_bar=any(isinstance(item, ProgressBar) for item in callbacks),
        default_root_dir=str(record.path),
    )


def _logger(node: Node, cfg: Node, record: RunFolder) -> Logger:
    made = instantiate(node)
    if not isinstance(made, functools.partial):
        return made
    # Experiment trackers are partial and need the identity of the run.
    return made(
        save_dir=cfg["paths"]["output_dir"],
        run_dir=record.path,
        name=record.path.name,
        id=record.run_id,
        group=cfg["group"],
        job_type="train",
        tags=list(cfg["tags"]),
    )
