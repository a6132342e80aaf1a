"""How each option is chosen, the configuration that comes of it, and two steps with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, flag_override

import candelabra.run.train as train_path
from candelabra.build.rows import tasks_data
from candelabra.config.schema import new_run_id, register
from candelabra.config.targets import conf_dir
from candelabra.run.record import RunFolder
from candelabra.run.start import check_settings
from helpers.built import check_run
from helpers.yaml_values import differing

FILES = sorted(
    str(file.relative_to(conf_dir()).with_suffix("")) for file in conf_dir().rglob("*.yaml")
)
COMMANDS = [name for name in FILES if "/" not in name]
PARTS = [name for name in FILES if "/base/" in f"/{name}"]
OPTIONS = [name for name in FILES if name not in (*COMMANDS, *PARTS)]

SEVERAL_PROCESSES = ("ddp", "ddp_cpu", "multi_node")
ONE_PROCESS = [
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.num_nodes=1",
]
"""Several are started by tests of the command line; here a group of one."""

PLAIN_LOSSES = [f"loss@tasks.{task}.loss=cross_entropy" for task in ("sentiment", "movie")]
"""Where a loss is of another kind of task, which is added."""

GROUPING = ("batch_hard", "batch_hard_soft_margin", "batch_semi_hard", "batch_all")

NEEDED = {
    "balancing/gap_driven": ["balancing.shares.references={sentiment: 0.9, movie: 0.7}"],
    "encoder/hub": ["encoder.name=google-bert/bert-base-uncased"],
    "encoder/path": ["encoder.name=google-bert/bert-base-uncased"],
    "freeze/head": ["freeze.head=movie"],
    "freeze/lower_layers": ["freeze.num_layers=1"],
    "freeze/lower_layers_and_head": [
        "freeze.parts.lower_layers.num_layers=1",
        "freeze.parts.head.head=movie",
    ],
    **{
        f"head/{name}": ["head@tasks.sentiment.head=linear", f"head@tasks.movie.head={name}"]
        for name in ("crf", "tagging", "tagging_mlp")
    },
    **{
        f"head/{name}": [
            "head@tasks.sentiment.head=linear",
            f"+task@tasks.it={task}",
            f"head@tasks.it.head={name}",
        ]
        for name, task in (("multilabel", "sample_mentions"), ("regression", "sample_counts"))
    },
    "head/pair": ["tasks=nli_softmax", "head@tasks.nli.head=pair"],
    **{
        f"head/{name}": ["tasks=stsb", f"head@tasks.sts.head={name}"]
        for name in ("embedding", "embedding_cached")
    },
    **{
        f"loss/{name}": [f"tasks={tasks}", f"loss@tasks.{task}.loss={name}"]
        for tasks, task, names in (
            ("stsb", "sts", ("cosine", "cosent", "angle")),
            ("sample_pairs", "alike", ("contrastive", "online_contrastive")),
            ("nli_ranking", "nli", ("ranking",)),
            ("nli_triplet", "nli", ("triplet",)),
            ("banking77_grouping", "intent", GROUPING),
        )
        for name in names
    },
    "loss/mega_batch_margin": [
        "tasks=nli_ranking",
        "~tasks.nli.columns.negative",
        "loss@tasks.nli.loss=mega_batch_margin",
    ],
    "task/stsb_judge": ["tasks=sample_pairs", "+task@tasks.it=stsb_judge"],
    "sweep/best": ["sweep=best", "experiment=best_small"],
    "sweep/distillation": ["sweep=distillation", "experiment=best_small", "teacher=null"],
    **{
        f"loss/{name}": [*PLAIN_LOSSES, f"+task@tasks.it={task}", f"loss@tasks.it.loss={name}"]
        for name, task in (
            ("binary_cross_entropy", "sample_mentions"),
            ("squared_error", "sample_counts"),
        )
    },
    **{f"trainer/{name}": [f"trainer={name}", *ONE_PROCESS] for name in SEVERAL_PROCESSES},
    "tasks/none": ["tasks=none", "+task@tasks.it=sample_reviews"],
}
"""What an option needs besides, or another way to choose it."""

BY_GROUP = {
    "head": ["head@tasks.sentiment.head={option}"],
    "loss": ["loss@tasks.sentiment.loss={option}", "loss@tasks.movie.loss={option}"],
    "task": ["tasks=none", "+task@tasks.it={option}"],
}
"""How an option of a group is chosen, where not by `group=option`."""

SMALL = [
    "encoder=tiny",
    "logger=csv",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=4",
    "trainer.limit_test_batches=4",
]


def words(name: str) -> list[str]:
    """The overrides that choose an option."""
    group, _, option = name.rpartition("/")
    usual = [word.format(option=option) for word in BY_GROUP.get(group, [f"{group}={option}"])]
    needed = NEEDED.get(name, [])
    if any(word.startswith("tasks=") for word in needed) and group in ("head", "loss"):
        return needed  # the usual tasks are not there
    keys = {word.partition("=")[0] for word in needed}
    return [word for word in usual if word.partition("=")[0] not in keys] + needed


def composed(overrides: list[str], folder: Path, command: str = "train") -> DictConfig:
    """The configuration as `candelabra train`, or `pretrain`, hands it to `validate`."""
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose(command, overrides=overrides, return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(cfg)
    with flag_override(cfg, ["struct", "readonly"], False):
        del cfg["hydra"]
    return cfg


def two_steps(overrides: list[str], folder: Path, *, option: str | None = None) -> dict[str, float]:
    """Train on the one path that every run takes, and compare what it builds with the yamls.

    Args:
        overrides: Overrides of the run.
        folder: The run folder.
        option: Option `GROUP/OPTION` that the overrides choose, whose yaml is compared, too.

    Returns:
        The metrics of the run.
    """
    cfg = composed(overrides, folder)
    if option is not None:
        assert not differing(option, cfg, overrides)
    check_settings(cfg)
    record = RunFolder(folder, new_run_id())
    fit = train_path._fit

    def checked_fit(trainer: Any, module: Any, datamodule: Any, checkpoint: Any) -> None:
        check_run(cfg, trainer, module, datamodule)
        fit(trainer, module, datamodule, checkpoint)

    with patch.object(train_path, "_fit", checked_fit):
        metrics = train_path.train(cfg, tasks_data(cfg.tasks), record)
    stored = json.loads((folder / "bundle" / "config.json").read_text())
    for key in ("max_length", "truncation"):
        assert stored[key] == cfg.encoder[key]
    assert record.record["steps"] == 2
    assert torch.isfinite(torch.tensor(list(metrics.values()))).all()
    return metrics
