"""The rule of every key: its type and its range."""

from __future__ import annotations

from candelabra.config.keys import ACCELERATORS, PRECISIONS
from candelabra.config.rules import (
    Rule,
    checked_elsewhere,
    choice,
    count_or_part,
    either,
    flag,
    list_of,
    mapping_of,
    node_of_a_task,
    optional,
    real,
    settings,
    text,
    whole,
)
from candelabra.data.sources import SPLITS

MOST_PROCESSES = 1024
"""Each takes memory of its own: a larger number is a slip of the hand."""
MOST_SIZE = 65536
"""Largest size of a layer."""
LIGHTNING_PRECISIONS = (
    *PRECISIONS,
    *("16-mixed", "16-true", "bf16-true", "64-true", "bf16", "16", "32", "64", 16, 32, 64),
)

BAD_ROWS = choice("error", "skip")
PROBABILITY = real(least=0, most=1)
POSITIVE = real(above=0)
NOT_NEGATIVE = real(least=0)
COSINE = real(least=-1, most=1)
WORDS = list_of(text)
FILES = either("a file, or a list of files", text, list_of(text))
SCALAR = either("text or a number", text, real(), flag)

NUM_LAYERS = either(
    "a number of layers, or a part of them below 1.0", whole(), real(above=0, below=1)
)

DEVICES = either(
    f"auto, -1, a number from 1 to {MOST_PROCESSES}, or a list of device numbers",
    whole(1, MOST_PROCESSES),
    choice("auto", "-1", -1),
    list_of(whole(0, MOST_PROCESSES)),
)

NODE_OR_NULL = optional(settings)
"""Of a part that can be switched off."""
NODE_OR_NAME = either("a name, or settings", text, settings)
NODES = (settings, NODE_OR_NULL, NODE_OR_NAME, node_of_a_task)
"""Rules of mappings whose keys have rules of their own."""

HYDRA_RULES: dict[str, Rule] = {
    "_target_": text,
    "_partial_": flag,
    "_recursive_": flag,
    "_convert_": choice("none", "partial", "object", "all"),
}
"""Keys of Hydra, in any mapping."""

RULES: dict[str, Rule] = {
    # Every command.
    "seed": whole(),
    "batch_size": whole(1),
    "eval_batch_size": whole(1),
    "num_workers": whole(0, MOST_PROCESSES),
    "processes": whole(1, MOST_PROCESSES),
    "on_bad_row": BAD_ROWS,
    "data_dir": optional(text),
    "cache_dir": optional(text),
    "split": choice(*SPLITS),
    "accelerator": choice(*ACCELERATORS),
    "precision": choice(*PRECISIONS),
    "normalize": optional(flag),
    "column": text,
    "allow": WORDS,
    "mteb": WORDS,
    # train
    "keep_memory": flag,
    "test": flag,
    "init_from": optional(text),
    "init_heads": optional(WORDS),
    "distill_frozen": NOT_NEGATIVE,
    "group": optional(text),
    "tags": WORDS,
    # compare, embed, search, mine, export
    "resamples": whole(1, 10**6),
    "truncate_dim": optional(whole(1)),
    "top_k": whole(1),
    "rerank_top_k": whole(1),
    "rerank_task": optional(text),
    "approximate": flag,
    "format": optional(text),
    "query_column": optional(text),
    "columns": mapping_of(text, keys=("anchor", "positive")),
    "min_words": whole(1),
    "truncation": optional(text),
    "quantize": flag,
    "limit": optional(whole(1)),
    "overwrite": flag,
    "private": flag,
    "dry_run": flag,
    # The recipe of mine checks these together.
    **dict.fromkeys(
        ("negatives", "num_negatives", "sampling", "range_min", "range_max", "absolute_margin"),
        checked_elsewhere,
    ),
    **dict.fromkeys(("relative_margin", "max_score", "min_score"), checked_elsewhere),
    # encoder, pooling
    "encoder": settings,
    "encoder.name": text,
    "encoder.revision": optional(text),
    "encoder.sha256": optional(text),
    "encoder.max_length": whole(3),
    "encoder.truncation": choice("head", "tail", "head_tail"),
    "encoder.attention": choice("auto", "blocks", "eager", "sdpa", "flash_attention_2"),
    "encoder.dropout": optional(PROBABILITY),
    "encoder.attention_dropout": optional(PROBABILITY),
    "encoder.bit_dropout": flag,
    "encoder.local": flag,
    "encoder.prompt": optional(text),
    "encoder.random_seed": optional(whole()),
    "encoder.seed": whole(),
    "encoder.width": whole(1, MOST_SIZE),
    "encoder.num_layers": whole(1, MOST_SIZE),
    "pooling": settings,
    # The pooling `modules` checks its parts, and names what they may be.
    "pooling.modes": list_of(text),
    "pooling.layers": checked_elsewhere,
    # tasks
    "tasks": settings,
    "tasks.*": node_of_a_task,
    "tasks.*.source": settings,
    "tasks.*.source.name": text,
    "tasks.*.source.view": text,
    "tasks.*.source.tag_first": flag,
    "tasks.*.source.quoted": optional(flag),
    "tasks.*.source.draw": mapping_of(optional(whole(1)), keys=SPLITS),
    "tasks.*.source.seed": whole(),
    "tasks.*.source.folder": optional(text),
    "tasks.*.source.data_dir": optional(text),
    **dict.fromkeys((f"tasks.*.source.{split}" for split in SPLITS), optional(FILES)),
    "tasks.*.source.files": mapping_of(FILES, keys=SPLITS),
    "tasks.*.source.hub": optional(mapping_of(checked_elsewhere)),
    "tasks.*.source.subfolders": optional(
        either("a list of folders, or folder: label", WORDS, mapping_of(text))
    ),
    "tasks.*.columns": mapping_of(text),
    "tasks.*.labels": optional(either("a list, or a JSON file", text, list_of(SCALAR))),
    "tasks.*.limit": optional(mapping_of(optional(whole(1)), keys=SPLITS)),
    "tasks.*.validation": count_or_part("rows"),
    "tasks.*.split_seed": whole(),
    "tasks.*.on_bad_row": BAD_ROWS,
    "tasks.*.missing_labels": BAD_ROWS,
    "tasks.*.score_range": list_of(real(), length=2),
    "tasks.*.train": flag,
    "tasks.*.cross": flag,
    "tasks.*.layer_mix": flag,
    "tasks.*.loss_weight": POSITIVE,
    "tasks.*.main_metric": text,
    "tasks.*.max_tokens": optional(whole(1)),
    "tasks.*.metrics": settings,
    "tasks.*.pooling": node_of_a_task,
    "tasks.*.pooling.modes": list_of(text),
    "tasks.*.pooling.layers": checked_elsewhere,
    "tasks.*.head": node_of_a_task,
    "tasks.*.head.dropout": PROBABILITY,
    "tasks.*.head.transition_lr": POSITIVE,
    "tasks.*.head.threshold": real(above=0, below=1),
    "tasks.*.head.normalize": flag,
    "tasks.*.head.constrained": flag,
    "tasks.*.head.matryoshka_dims": list_of(whole(1)),
    "tasks.*.head.mini_batch_size": optional(whole(1)),
    "tasks.*.loss": node_of_a_task,
    "tasks.*.loss.label_smoothing": PROBABILITY,
    "tasks.*.loss.gamma": NOT_NEGATIVE,
    "tasks.*.loss.alpha": optional(
        either("a number, or a list of numbers of at least 0", NOT_NEGATIVE, list_of(NOT_NEGATIVE))
    ),
    "tasks.*.loss.beta": real(least=0, below=1),
    "tasks.*.loss.tau": real(),
    "tasks.*.loss.scale": POSITIVE,
    "tasks.*.loss.margin": NOT_NEGATIVE,
    "tasks.*.loss.positive_margin": COSINE,
    "tasks.*.loss.negative_margin": COSINE,
    "tasks.*.loss.symmetric": flag,
    # adapter, freeze
    "adapter": settings,
    "adapter.r": whole(1, MOST_SIZE),
    "adapter.alpha": POSITIVE,
    "adapter.dropout": PROBABILITY,
    "adapter.targets": optional(WORDS),
    "adapter.num_layers": optional(whole(1)),
    "adapter.per_task": flag,
    "freeze": settings,
    "freeze.num_layers": NUM_LAYERS,
    "freeze.parts.*.num_layers": NUM_LAYERS,
    # Schemes check the rest when they are made, before any data are read.
    "freeze.**": checked_elsewhere,
    # balancing, step, weighting
    "balancing": settings,
    "balancing.shares": settings,
    "balancing.shares.*": checked_elsewhere,
    "balancing.epoch": choice("all_once", "max_size_cycle", "min_size", "steps"),
    "balancing.turns": choice("drawn", "cycled"),
    "balancing.steps_per_epoch": optional(whole(1)),
    "step": settings,
    "step.counts": settings,
    "step.idle_heads": flag,
    "weighting": settings,
    "weighting.scheme": settings,
    "weighting.scheme.seed": whole(),
    "weighting.scheme.radius": NOT_NEGATIVE,
    "weighting.scheme.max_norm": POSITIVE,
    "weighting.rescale": flag,
    "weighting.seed": whole(),
    "weighting.alpha": real(),
    "weighting.window": whole(1),
    "weighting.temperature": POSITIVE,
    "weighting.first_steps": whole(),
    "weighting.lr": POSITIVE,
    "weighting.lr_w": POSITIVE,
    "weighting.decay": NOT_NEGATIVE,
    "weighting.bound": real(),
    # optimizer, scheduler
    "optimizer": settings,
    "optimizer.lr": POSITIVE,
    "optimizer.head_lr": optional(POSITIVE),
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.layer_decay": optional(real(above=0, most=1)),
    "optimizer.betas": list_of(real(least=0, below=1), length=2),
    "optimizer.eps": POSITIVE,
    "optimizer.fused": flag,
    "scheduler": settings,
    "scheduler.warmup_steps": optional(whole()),
    "scheduler.warmup_ratio": PROBABILITY,
    "scheduler.cut_frac": PROBABILITY,
    "scheduler.ratio": real(least=1),
    # trainer
    "trainer": settings,
    "trainer.accelerator": choice(*ACCELERATORS),
    "trainer.devices": DEVICES,
    "trainer.num_nodes": whole(1, MOST_PROCESSES),
    "trainer.strategy": NODE_OR_NAME,
    "trainer.strategy.process_group_backend": optional(choice("nccl", "gloo")),
    "trainer.strategy.find_unused_parameters": flag,
    "trainer.strategy.gradient_as_bucket_view": flag,
    "trainer.strategy.timeout": settings,
    "trainer.strategy.timeout.minutes": POSITIVE,
    "trainer.precision": choice(*LIGHTNING_PRECISIONS),
    "trainer.max_epochs": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.gradient_clip_val": optional(NOT_NEGATIVE),
    "trainer.limit_train_batches": optional(count_or_part("steps")),
    "trainer.limit_val_batches": optional(count_or_part("batches", least=0)),
    "trainer.limit_test_batches": optional(count_or_part("batches", least=0)),
    "trainer.check_val_every_n_epoch": optional(whole(1)),
    "trainer.val_check_interval": optional(count_or_part("micro-batches")),
    "trainer.log_every_n_steps": whole(1),
    "trainer.num_sanity_val_steps": whole(-1),
    "trainer.enable_model_summary": flag,
    "trainer.use_distributed_sampler": flag,
    # callbacks, logger, paths
    "callbacks": settings,
    "callbacks.*": NODE_OR_NULL,
    "callbacks.*.monitor": optional(text),
    "callbacks.*.mode": choice("min", "max"),
    "callbacks.*.dirpath": text,
    "callbacks.*.filename": text,
    "callbacks.*.path": optional(text),
    "callbacks.*.save_top_k": whole(-1),
    "callbacks.*.save_weights_only": flag,
    "callbacks.*.enable_version_counter": flag,
    "callbacks.*.every_n_train_steps": whole(1),
    "callbacks.*.every_n_steps": whole(1),
    "callbacks.*.patience": whole(),
    "callbacks.*.action": choice("stop", "skip"),
    "callbacks.*.decay": real(least=0, below=1),
    "callbacks.*.start": real(least=0, below=1),
    "callbacks.*.logging_interval": optional(choice("step", "epoch")),
    "logger": settings,
    "logger.*": NODE_OR_NULL,
    "logger.*.folder": text,
    "logger.*.save_dir": text,
    "logger.*.name": text,
    "logger.*.version": either("text or a number", text, whole()),
    "logger.*.project": text,
    "logger.*.mode": choice("online", "offline"),
    "logger.*.connect_timeout_seconds": POSITIVE,
    "logger.*.finish_timeout_seconds": POSITIVE,
    "paths": settings,
    # study
    "study": settings,
    "study.question": optional(text),
    "study.baseline": optional(text),
    "study.arms": settings,
    "study.arms.**": checked_elsewhere,
    "study.rows": optional(whole(1)),
    "study.tune": whole(),
    "study.margins": mapping_of(POSITIVE),
    "study.metric_margins": mapping_of(POSITIVE),
    "study.answer": settings,
    "study.answer.shared": text,
    "seeds": whole(2),
    "plan": flag,
    "output_dir": text,
    "paths.output_dir": text,
    "paths.run_dir": text,
    "paths.cache_dir": optional(text),
}
"""Rule of each key: `*` is any one name, `**` any names. The first that matches a key counts."""
