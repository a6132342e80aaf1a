"""Pre-train an encoder on the texts of the tasks: the path from the rows to its folder."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra import tables
from candelabra.build.model import build_backbone, load_tokenizer
from candelabra.build.pretraining import build_method, load_for
from candelabra.build.schedule import build_schedule
from candelabra.build.trainer import build_module
from candelabra.config.grammar import quoted
from candelabra.config.messages import building
from candelabra.config.plain_form import plain
from candelabra.data.collate import TokenizedSplit
from candelabra.data.loading import TaskData, fingerprint
from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.files import clear_folder_drafts, drafted
from candelabra.losses.classification import cross_entropy
from candelabra.metrics.masked_words import MaskedWordMetrics
from candelabra.model.multitask import MultiTaskModel
from candelabra.pretraining import PretrainingMethod
from candelabra.records import IGNORED, Examples
from candelabra.run import finish, parts
from candelabra.run.facts import machine_facts, row_counts
from candelabra.run.record import RunFolder
from candelabra.run.tables import model_table
from candelabra.training.loggers.run_media import RunMedia
from candelabra.training.loggers.tracking import log_results, tracked
from candelabra.training.scoring import Objective
from candelabra.weighting import Fixed

if TYPE_CHECKING:
    from candelabra.run.resume import StoredRun

TEXTS = "texts"
"""Name under which the texts of all tasks are trained, as one task, and logged."""
ALL_ONCE = {
    "shares": {"_target_": "candelabra.data.mixing.proportional", "_partial_": True},
    "epoch": "all_once",
    "turns": "drawn",
    "steps_per_epoch": None,
}
JOINT = {"counts": {"_target_": "candelabra.data.mixing.joint", "_partial_": True}}
"""Balancing and step of one task, in place of what the configuration has for several."""


def pretrain(
    cfg: DictConfig,
    data: Mapping[str, TaskData],
    record: RunFolder,
    *,
    resume: StoredRun | None = None,
) -> dict[str, float]:
    """Train an encoder to predict tokens of texts, and write it to the folder `encoder`.

    Args:
        cfg: A configuration that passed `validate`.
        data: The rows of each task, whose labels are not used.
        record: The run folder.
        resume: The run to resume; `None` starts a new run.

    Returns:
        The metrics, as in `metrics.json`.
    """
    device, precision, fingerprints = parts.begin(cfg, data, resume)
    with building():
        backbone = build_backbone(cfg.encoder)
        tokenizer = load_tokenizer(backbone, cfg.encoder)
        method = build_method(cfg.method)
        encoder, head = load_for(method, backbone, cfg.encoder, tokenizer)
        splits = changing_splits(cfg, data, method, tokenizer)
        model = MultiTaskModel(encoder, {TEXTS: head})
        losses = {TEXTS: Objective(cross_entropy, 1.0, MaskedWordMetrics(), "accuracy")}
        schedule = build_schedule(
            {TEXTS: splits["train"]},
            losses,
            tasks={TEXTS: {}},
            max_length=cfg.encoder.max_length,
            balancing={**cfg.balancing, **ALL_ONCE},
            step={**cfg.step, **JOINT},
            trainer=cfg.trainer,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
        )
        datamodule = parts.datamodule_of(cfg, {TEXTS: {**splits}}, schedule)
        module = build_module(
            model,
            losses,
            Fixed([TEXTS]),
            optimizer=cfg.optimizer,
            scheduler=cfg.scheduler,
            total_steps=schedule.total_steps,
            seed=cfg.seed,
            distill_frozen=0.0,
        )
        trainer = parts.trainer_of(cfg, record, precision=precision)
    sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    tables.show(f"texts: {sizes}; {schedule.steps_per_epoch} steps an epoch", model_table(model))
    record.update(
        precision=precision,
        fingerprints=fingerprints,
        steps_per_epoch=schedule.steps_per_epoch,
        **machine_facts(model, device, num_processes=trainer.world_size),
        **row_counts(data),
    )
    with tracked(trainer, plain(cfg), [TEXTS]):
        started = time.perf_counter()
        checkpoint = None if resume is None else resume.checkpoint
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        record.update(**finish.fit_speed(trainer, module, time.perf_counter() - started))
        metrics = finish.restore_best(trainer, module)
        if trainer.is_global_zero:
            record.write_metrics(metrics)
            clear_folder_drafts(record.path, ["encoder"])
            with drafted(record.path / "encoder") as draft:
                head.save(encoder, draft)
                tokenizer.tokenizer.save_pretrained(draft)
        log_results(trainer, RunMedia(record.path, metrics))
    words = ["encoder=path", f"encoder.name={record.path / 'encoder'}"]
    words.append(f"encoder.max_length={cfg.encoder.max_length}")
    if prompt := cfg.encoder.get("prompt"):
        words.append(f"encoder.prompt={quoted(prompt)}")
    start = f"a training begins with this encoder by: {shlex.join(words)}"
    tables.show(*tables.result_tables(metrics), start)
    return metrics


def changing_splits(
    cfg: DictConfig,
    data: Mapping[str, TaskData],
    method: PretrainingMethod,
    tokenizer: TextTokenizer,
) -> dict[str, TokenizedSplit]:
    """Return the texts of all tasks without repetitions, and which of them are held out.

    A text that one task holds out is not trained on, even if another task trains on it.

    Args:
        cfg: Configuration of the run.
        data: The rows of each task.
        method: Method of the pre-training.
        tokenizer: Tokenizer of the encoder.

    Raises:
        ConfigError: If all texts are held out.
    """
    held_out = _distinct_texts(data, "validation")
    trained = [text for text in _distinct_texts(data, "train") if text not in held_out]
    if not trained:
        raise ConfigError("every text of the train splits is in a validation split, too")
    splits: dict[str, TokenizedSplit] = {}
    for name, texts in (("train", trained), ("validation", list(held_out))):
        examples = Examples((texts,), [IGNORED] * len(texts), None, list(range(len(texts))))
        tokens = tokenize_cached(
            examples,
            tokenizer,
            fingerprint=fingerprint(Examples((texts,), [], None, []), ()),
            cache_dir=Path(cfg.paths.cache_dir) if cfg.paths.cache_dir else None,
        )
        unchanged = TokenizedSplit(examples, tokens, tokenizer.pad_id)
        splits[name] = method.split(unchanged, tokenizer, seed=cfg.seed)
    return splits


def _distinct_texts(data: Mapping[str, TaskData], split: str) -> dict[str, None]:
    """Return the texts of a split of all tasks, each once, as keys in the order of the rows."""
    columns = (column for task in data.values() for column in task.splits[split].texts)
    return dict.fromkeys(text for column in columns for text in column)
