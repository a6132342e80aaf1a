"""Build the tokens and the schedule of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from candelabra.build.instantiate import Node, make
from candelabra.data.collate import TokenizedSplit, tokenize_task
from candelabra.data.loading import TaskData
from candelabra.data.mixing.order import Draws
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError, naming
from candelabra.losses.rules import rule_of
from candelabra.training.scoring import Objective

TokenizedTasks = dict[str, dict[str, TokenizedSplit]]


def tokenize_tasks(
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
    tokenized = {}
    for name, task in data.items():
        with naming(f"tasks.{name}"):
            tokenized[name] = tokenize_task(
                task, tokenizer, cache_dir=folder, cross=nodes[name].get("cross", False)
            )
    return tokenized


def build_schedule(
    train_splits: Mapping[str, TokenizedSplit],
    objectives: Mapping[str, Objective],
    *,
    tasks: Mapping[str, Node],
    max_length: int,
    balancing: Node,
    step: Node,
    trainer: Node,
    batch_size: int,
    seed: int,
) -> Schedule:
    """Build the schedule: which examples of which tasks each optimizer step holds.

    Args:
        train_splits: Train split of each trained task.
        objectives: Objective of each task; some losses choose which examples share a step.
        tasks: Config node of each task.
        max_length: Maximum number of tokens of a text.
        balancing: Config node of the balancing.
        step: Config node of the step.
        trainer: Config node of the trainer; `limit_train_batches` shortens the epochs.
        batch_size: Number of examples in a step, over all tasks.
        seed: Seed of the order of the examples.

    Raises:
        ConfigError: If a task's `max_tokens` is too small or does not fit its loss, or the
            validation interval exceeds an epoch.
    """
    new_schedule = functools.partial(
        Schedule,
        {task: split.lengths for task, split in train_splits.items()},
        shares=make(balancing["shares"], "balancing.shares"),
        step=make(step["counts"], "step.counts"),
        epoch=balancing["epoch"],
        turns=balancing["turns"],
        order=balancing["order"],
        batch_size=batch_size,
        seed=seed,
        num_epochs=trainer["max_epochs"],
        max_tokens=_max_tokens(tasks, train_splits, max_length, order=balancing["order"]),
        arrange=_arrangements(tasks, train_splits, objectives),
    )
    with naming("balancing", balancing):
        schedule = new_schedule(
            steps_per_epoch=_steps_per_epoch(new_schedule, trainer, balancing["steps_per_epoch"])
        )
    _check_validations(trainer, schedule.steps_per_epoch)
    return schedule


def _steps_per_epoch(
    new_schedule: Callable[..., Schedule], trainer: Node, steps: int | None
) -> int | None:
    """Return the smaller of `steps` and `limit_train_batches`; `None` if neither is a limit."""
    limit = trainer["limit_train_batches"]
    if isinstance(limit, float):  # a fraction of the epoch
        limit = max(1, round(limit * new_schedule(steps_per_epoch=steps).steps_per_epoch))
    limits = [limit for limit in (limit, steps) if limit is not None]
    return min(limits, default=None)


def _max_tokens(
    tasks: Mapping[str, Node],
    train_splits: Mapping[str, TokenizedSplit],
    max_length: int,
    *,
    order: str,
) -> dict[str, int]:
    """Return the token budget per text column, since pairs have two texts and triplets three."""
    budgets = {}
    for name, split in train_splits.items():
        budget, num_texts = tasks[name].get("max_tokens"), len(split.texts)
        if budget is None:
            continue
        if order != "length":
            raise ConfigError(
                f"tasks.{name}.max_tokens needs balancing.order=length, got {order!r}"
            )
        budgets[name] = budget // num_texts
        if budgets[name] < max_length:
            raise ConfigError(
                f"tasks.{name}.max_tokens must hold an example of {num_texts} texts of "
                f"encoder.max_length={max_length} tokens each, got {budget}"
            )
    return budgets


def _arrangements(
    tasks: Mapping[str, Node],
    train_splits: Mapping[str, TokenizedSplit],
    objectives: Mapping[str, Objective],
) -> dict[str, Callable[..., Draws]]:
    """Return the functions that select the examples of a step, for losses that need one."""
    arrangements: dict[str, Callable[..., Draws]] = {}
    for name, split in train_splits.items():
        arrange = rule_of(objectives[name].loss).arrange
        if arrange is None:
            continue
        if tasks[name].get("max_tokens") is not None:
            raise ConfigError(
                f"tasks.{name}.max_tokens cannot be kept with a loss that chooses which examples "
                "share a step"
            )
        arrangements[name] = functools.partial(arrange, examples=split.examples)
    return arrangements


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
