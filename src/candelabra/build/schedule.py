"""Build the tokens and the schedule of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from hydra.utils import instantiate

from candelabra.build.trainer import Node
from candelabra.config.validation import learning
from candelabra.data.collate import TokenizedSplit
from candelabra.data.loading import TaskData
from candelabra.data.mixing.order import Draws
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.tokens import TextTokenizer, tokenize_cached
from candelabra.errors import ConfigError, naming
from candelabra.losses.embeddings import rule_of

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


def build_schedule(cfg: Node, splits: TokenizedTasks) -> Schedule:
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
