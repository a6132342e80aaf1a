"""The training loaders that loader.py compares: candelabra's and those of the two peers."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peers import SAMPLERS, STRATEGIES, mixed_rows, sentence_transformer, text_rows
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from torch import nn
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from candelabra.data.collate import TokenizedSplit
from candelabra.data.mixing.balancing import proportional
from candelabra.data.mixing.schedule import Schedule, StepFunction
from candelabra.data.mixing.steps import alternate, joint
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer
from candelabra.model.backbones import Pretrained
from candelabra.records import Examples

REVIEWS = "imdb"
OURS: dict[str, StepFunction] = {"joint": joint, "alternate": alternate, "joint_budget": joint}
Pairs = Mapping[str, tuple[Sequence[str], Sequence[int]]]
Open = Callable[[], Iterable[Any]]
"""Makes the loader, and everything that an epoch of it needs."""
Loaders = dict[str, Callable[[int], Open]]
"""Side -> what opens its loader, for a number of workers."""


class AtTheStart(SimpleNamespace):
    """What the data module asks a Lightning trainer: one process, before the first step."""

    def __init__(self) -> None:
        super().__init__(
            accumulate_grad_batches=1,
            global_rank=0,
            world_size=1,
            lightning_module=SimpleNamespace(steps_done=0, epoch_scores={}),
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )


def our_loaders(tasks: Mapping[str, Examples], options: Namespace) -> Loaders:
    """candelabra's training loader with each step scheme."""
    backbone = Pretrained(name=options.model, max_length=options.max_length, local=True)
    splits = tokenized(tasks, backbone.tokenizer())

    def opened(side: str, workers: int) -> Iterable[Any]:
        schedule = Schedule(
            {task: split.lengths for task, split in splits.items()},
            shares=proportional,
            step=OURS[side],
            epoch="all_once",
            batch_size=options.batch_size,
            seed=0,
            max_tokens={REVIEWS: options.max_tokens} if side == "joint_budget" else None,
        )
        data = MultiTaskDataModule(
            {task: {"train": split} for task, split in splits.items()},
            schedule=schedule,
            num_workers=workers,
        )
        data.trainer = AtTheStart()
        return data.train_dataloader()

    return {side: partial(partial, opened, side) for side in OURS}


def tokenized(tasks: Mapping[str, Examples], tokenizer: TextTokenizer) -> dict[str, TokenizedSplit]:
    begin = time.perf_counter()
    splits = {}
    for task, rows in tasks.items():
        texts = tokenize_cached(rows, tokenizer, fingerprint="", cache_dir=None)
        splits[task] = TokenizedSplit(rows, texts, tokenizer.pad_id)
    seconds = time.perf_counter() - begin
    print(f"candelabra tokenised {sum(map(len, splits.values()))} rows in {seconds:.1f} s")
    return splits


def peer_loaders(tasks: Mapping[str, Examples], options: Namespace, scratch: Path) -> Loaders:
    """The two peers' training loaders with each of their orders."""
    model = sentence_transformer(
        options.model, max_length=options.max_length, attention="eager", device="cpu"
    )
    # Questions have tags, and no class.
    pairs = {
        task: (rows.texts[0], rows.labels if rows.words is None else [0] * len(rows))
        for task, rows in tasks.items()
    }
    settings = {
        "output_dir": str(scratch),
        "per_device_train_batch_size": options.batch_size,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "report_to": "none",
    }
    trainers = trainer_loaders(pairs, model.tokenizer, options.max_length, settings)
    return sentence_loaders(pairs, model, settings) | trainers


def sentence_loaders(
    pairs: Pairs, model: SentenceTransformer, settings: Mapping[str, Any]
) -> Loaders:
    def loader(sampler: str, workers: int) -> Open:
        arguments = SentenceTransformerTrainingArguments(
            **settings, multi_dataset_batch_sampler=sampler, dataloader_num_workers=workers
        )
        trainer = SentenceTransformerTrainer(
            model,
            arguments,
            train_dataset={task: text_rows(*pair) for task, pair in pairs.items()},
            # With a loss for each task, a row comes with the name of its task.
            loss={task: nn.Identity() for task in pairs},
        )
        return trainer.get_train_dataloader

    return {side: partial(loader, sampler) for side, sampler in SAMPLERS.items()}


def trainer_loaders(
    pairs: Pairs, tokenizer: Any, max_length: int, settings: Mapping[str, Any]
) -> Loaders:
    mixed = mixed_rows(pairs, tokenizer, max_length=max_length, seed=0)

    def loader(strategy: str, workers: int) -> Open:
        arguments = TrainingArguments(
            **settings, train_sampling_strategy=strategy, dataloader_num_workers=workers
        )
        collator = DataCollatorWithPadding(tokenizer)
        return Trainer(
            nn.Linear(1, 1), arguments, collator, train_dataset=mixed
        ).get_train_dataloader

    return {side: partial(loader, strategy) for side, strategy in STRATEGIES.items()}
