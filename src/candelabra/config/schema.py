"""Types of the settings of each command.

The default values are in `conf/`. Imports nothing heavy.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from candelabra.processes import rank

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
MOST_CHARACTERS = 100
"""Maximum length of a folder name that is made from the names of the tasks."""


@dataclass
class TrainConfig:
    """Settings of `candelabra train`. The node of a group holds the keys of its option's yaml."""

    encoder: Any = MISSING
    pooling: Any = MISSING
    tasks: dict[str, Any] = MISSING
    adapter: Any = MISSING
    freeze: Any = MISSING
    balancing: Any = MISSING
    step: Any = MISSING
    weighting: Any = MISSING
    distillation: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    paths: Any = MISSING
    seed: int = MISSING
    data_dir: str | None = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    num_workers: int = MISSING
    keep_memory: bool = MISSING
    feature_cache: str | None = MISSING
    on_bad_row: str = MISSING
    init_from: str | None = MISSING
    init_heads: list[str] | None = MISSING
    teacher: Any = MISSING
    test: bool = MISSING
    distill_frozen: float = MISSING
    group: str | None = MISSING
    tags: list[str] = MISSING
    normalize: bool = MISSING


@dataclass
class PretrainConfig(TrainConfig):
    """Settings of `candelabra pretrain`: those of a training, of which heads have no effect."""

    method: Any = MISSING


@dataclass
class EvaluateConfig:
    """Settings of `candelabra evaluate`, in addition to `bundle=` and `output=`."""

    encoder: Any = None
    pooling: Any = None
    tasks: dict[str, Any] = MISSING
    split: str = MISSING
    data_dir: str | None = MISSING
    eval_batch_size: int = MISSING
    num_workers: int = MISSING
    on_bad_row: str = MISSING
    accelerator: str = MISSING
    precision: str = MISSING
    cache_dir: str | None = MISSING
    normalize: bool = MISSING
    mteb: list[str] = MISSING
    allow: list[str] = MISSING


@dataclass
class CompareConfig(EvaluateConfig):
    """Settings of `candelabra compare`, in addition to `models=` and `output=`."""

    resamples: int = MISSING
    seed: int = MISSING


@dataclass
class PredictConfig:
    """Settings of `candelabra predict`, in addition to `bundle=`, `text=`, `input=`, `output=`."""

    column: str = MISSING
    batch_size: int = MISSING
    backend: str = MISSING
    cache_dir: str = MISSING
    accelerator: str = MISSING
    precision: str = MISSING
    allow: list[str] = MISSING


@dataclass
class ModelConfig:
    """Settings of the commands that embed texts, in addition to their files and bundle."""

    encoder: Any = None
    pooling: Any = None
    truncate_dim: int | None = MISSING
    column: str = MISSING
    batch_size: int = MISSING
    backend: str = MISSING
    cache_dir: str = MISSING
    accelerator: str = MISSING
    precision: str = MISSING
    allow: list[str] = MISSING


@dataclass
class EmbedConfig(ModelConfig):
    """Settings of the commands that may embed in several processes."""

    normalize: bool | None = MISSING
    processes: int = MISSING


@dataclass
class SearchConfig(EmbedConfig):
    """Settings of `candelabra search`, in addition to its files."""

    top_k: int = MISSING
    rerank_top_k: int = MISSING
    rerank_task: str | None = MISSING
    approximate: bool = MISSING
    format: str = MISSING
    query_column: str | None = MISSING


@dataclass
class MineConfig(EmbedConfig):
    """Settings of `candelabra mine`, in addition to its files."""

    negatives: str = MISSING
    columns: dict[str, str] = MISSING
    num_negatives: int | None = MISSING
    seed: int = MISSING
    sampling: str | None = MISSING
    range_min: int | None = MISSING
    range_max: int | None = MISSING
    absolute_margin: float | None = MISSING
    relative_margin: float | None = MISSING
    max_score: float | None = MISSING
    min_score: float | None = MISSING
    min_words: int = MISSING


@dataclass
class ExportConfig:
    """Settings of `candelabra export`, in addition to `bundle=`, `output=`, `task=`, `push=`."""

    tasks: dict[str, Any] = MISSING
    format: str | None = MISSING
    truncation: str | None = MISSING
    quantize: bool = MISSING
    split: str = MISSING
    limit: int | None = MISSING
    data_dir: str | None = MISSING
    on_bad_row: str = MISSING
    overwrite: bool = MISSING
    private: bool = MISSING
    dry_run: bool = MISSING
    allow: list[str] = MISSING


@dataclass
class ReportConfig:
    """Settings of `candelabra report`, in addition to its folder and `output=`."""

    errors: int = MISSING
    data_dir: str | None = MISSING
    allow: list[str] = MISSING


@dataclass
class CacheConfig:
    """Settings of `candelabra cache`."""

    cache_dir: str = MISSING
    clear: bool = MISSING


@dataclass
class StudyConfig:
    """Settings of `candelabra study`, in addition to those of its runs."""

    study: Any = MISSING
    seeds: int = MISSING
    plan: bool = MISSING
    output_dir: str = MISSING


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "pretrain": PretrainConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "predict": PredictConfig,
    "embed": EmbedConfig,
    "similarity": ModelConfig,
    "search": SearchConfig,
    "mine": MineConfig,
    "export": ExportConfig,
    "study": StudyConfig,
    "report": ReportConfig,
    "cache": CacheConfig,
}


def command_of(config: Mapping[str, Any] | DictConfig) -> str:
    """Return the command that a configuration of a run belongs to: `pretrain` or `train`."""
    return "pretrain" if "method" in config else "train"


def new_run_id() -> str:
    """Return a unique id that begins with the time (UTC), so that ids sort by it."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_id_of(folder: Path) -> str:
    """Return the id that the folder of a run is named after, or a new one."""
    return folder.name if RUN_ID.fullmatch(folder.name) else new_run_id()


def run_group(*, _root_: DictConfig) -> str:
    """Return the name of the chosen experiment, or without one the names of the tasks.

    It names the folder of a run, and the group of the run in W&B.

    Args:
        _root_: The whole configuration, which OmegaConf passes to the resolver.
    """
    experiment = HydraConfig.get().runtime.choices.get("experiment")
    if experiment not in (None, "null"):
        return str(experiment)
    # The names of tasks are checked later; here they must not lead out of the folder of runs.
    names = [re.sub(r"\W", "_", str(name)) for name in _root_.get("tasks") or ()]
    group = "_".join(names) or "no_tasks"
    return group if len(group) <= MOST_CHARACTERS else f"{group[:MOST_CHARACTERS]}_{len(names)}"


def register() -> None:
    """Register the schemas and the resolvers of candelabra with Hydra and OmegaConf."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"schema_{name}", node=schema)
    OmegaConf.register_new_resolver("run_id", new_run_id, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("run_group", run_group, replace=True)
    suffix = f".rank{rank()}" if rank() else ""
    OmegaConf.register_new_resolver("rank_suffix", lambda: suffix, replace=True)
