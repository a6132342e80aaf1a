"""Comparison of the parts of a run with the configuration that they were built from.

The targets of the configuration are imported by their dotted paths, and each argument is looked up
in the part that was built. `candelabra.build` and `hydra.utils.instantiate` are not used.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.strategies import Strategy
from torch import nn

from candelabra.data.module import MultiTaskDataModule
from candelabra.model.encoder import Encoder
from candelabra.model.heads.base import Head
from candelabra.model.pooling import FunctionPooling
from candelabra.training.callbacks.interruption import StopOnSignal
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import OWN_RATE

Node = Mapping[str, Any]
OWN_KEYS = ("_target_", "_partial_", "_convert_")


def _dropouts(part: nn.Module) -> float:
    """Return the one probability of all dropout layers of a part."""
    (rate,) = {module.p for module in part.modules() if isinstance(module, nn.Dropout)}
    return rate


def _ema_decay(callback: Any) -> float:
    """Return the decay of an average, from what it makes of the numbers 1 and 0."""
    average, current = [torch.ones(1)], [torch.zeros(1)]
    callback._kwargs["multi_avg_fn"](average, current, torch.tensor(1))
    return round(float(average[0]), 6)


SEEN: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("CrfHead", "transition_lr"): lambda head: head.transitions.lr,
    ("EmbeddingHead", "matryoshka_dims"): lambda head: head.dims[1:],
    ("ExponentialMovingAverage", "decay"): _ema_decay,
    ("Famo", "lr_w"): lambda weighting: weighting.adam.lr,
    ("Famo", "decay"): lambda weighting: weighting.adam.decay,
    ("GradNorm", "lr_w"): lambda weighting: weighting.adam.lr,
    ("MetricsFile", "folder"): lambda logger: str(logger.path.parent),
    ("ModelCheckpoint", "enable_version_counter"): lambda best: best._enable_version_counter,
    ("ResumeCheckpoint", "dirpath"): lambda callback: str(callback.path.parent),
    ("TensorBoardLogger", "save_dir"): lambda logger: logger.save_dir,
    ("WandbTracker", "project"): lambda logger: logger._project,
    ("WandbTracker", "mode"): lambda logger: logger._mode,
    ("WandbTracker", "finish_timeout_seconds"): lambda logger: logger._finish_timeout_seconds,
    ("DDPStrategy", "process_group_backend"): lambda strategy: strategy._process_group_backend,
    ("DDPStrategy", "find_unused_parameters"): (
        lambda strategy: strategy._ddp_kwargs["find_unused_parameters"]
    ),
    ("DDPStrategy", "gradient_as_bucket_view"): (
        lambda strategy: strategy._ddp_kwargs["gradient_as_bucket_view"]
    ),
    ("DDPStrategy", "timeout"): lambda strategy: {
        "_target_": "datetime.timedelta",
        "minutes": strategy._timeout.total_seconds() / 60,
    },
    ("SentenceModules", "modes"): lambda pooling: list(pooling.modes),
    ("SentenceModules", "layers"): lambda pooling: list(pooling.layers),
}
"""How an argument is seen in an object that has no attribute of its name."""


def target(node: Node) -> Any:
    """Return what `_target_` names."""
    module, _, name = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def arguments(node: Node) -> dict[str, Any]:
    """Return the arguments of a target, as plain values."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    assert isinstance(plain, Mapping)
    return {str(key): value for key, value in plain.items() if key not in OWN_KEYS}


def check_partial(made: Any, node: Node) -> None:
    """Check that a partial calls the target with the arguments of the yaml."""
    assert isinstance(made, functools.partial)
    assert made.func is target(node)
    assert not made.args
    assert made.keywords == arguments(node)


def check_object(made: Any, node: Node) -> None:
    """Check that an object is of the class of the yaml, and holds each argument."""
    assert type(made) is target(node)
    for key, value in arguments(node).items():
        if isinstance(value, Mapping) and "_target_" in value:
            part = getattr(made, key, None) or SEEN[type(made).__name__, key](made)
            if isinstance(part, Mapping):
                assert part == value
            else:
                (check_partial if value.get("_partial_") else check_object)(part, value)
            continue
        if key == "dropout" and isinstance(made, Head):
            assert _dropouts(made) == value
            continue
        found = SEEN.get((type(made).__name__, key), functools.partial(_attribute, key=key))(made)
        assert found == value, (
            f"{type(made).__name__}.{key}: built {found!r}, the yaml has {value!r}"
        )


def _attribute(made: Any, key: str) -> Any:
    value = getattr(made, key)
    return str(value) if isinstance(value, Path) else value


def check_run(
    cfg: DictConfig,
    trainer: pl.Trainer,
    module: MultiTaskModule,
    datamodule: MultiTaskDataModule,
) -> None:
    """Check everything that a run has built, as it is before its first step."""
    model = module.model
    assert list(model.heads) == list(cfg.tasks)
    check_encoder(model.encoder, cfg.encoder)
    check_pooling(model.pooling, cfg.pooling)
    for name, task in cfg.tasks.items():
        check_task(module, str(name), task)
    assert model.freezer is not None
    check_scheme(model.freezer.scheme, cfg.freeze)
    assert module.weighting is not None
    learns = [name for name, task in cfg.tasks.items() if task.get("train", True)]
    assert list(module.weighting.tasks) == learns
    check_object(module.weighting, cfg.weighting)
    check_schedule(datamodule.schedule, cfg)
    check_optimizer(module, cfg)
    check_trainer(trainer, cfg)


def check_encoder(encoder: Encoder, node: Node) -> None:
    """Check the rates and the attention; the sizes are those of the checkpoint."""
    made = encoder.backbone.config
    assert encoder.width == getattr(made, "hidden_size", None) or made.dim
    assert len(encoder.layers) == made.num_hidden_layers
    assert encoder.attention == node.get("attention", "auto")
    rates = {"dropout": 0.1, "attention_dropout": 0.1}
    rates |= {key: node[key] for key in rates if node.get(key) is not None}
    found = {module.p for module in encoder.modules() if isinstance(module, nn.Dropout)}
    assert found <= {*rates.values(), 0.0}


def check_pooling(pooling: nn.Module, node: Node) -> None:
    """Check the function of a pooling, or its class."""
    if isinstance(pooling, FunctionPooling):
        check_partial(pooling.function, node)
    else:
        check_object(pooling, node)


def check_task(module: MultiTaskModule, name: str, task: Node) -> None:
    """Check the head, the pooling and the mix of layers of a task, its loss and its metrics."""
    model, objective = module.model, module.objectives[name]
    head = model.head(name)
    check_object(head, task["head"])
    if task.get("labels"):
        assert list(head.labels) == list(task["labels"])
    assert (name in model.mixes) == bool(task.get("layer_mix"))
    assert (name in model.poolings) == (task.get("pooling") is not None)
    if name in model.poolings:
        check_pooling(model.poolings[name], task["pooling"])
    assert (name in model.eval_only) == (not task.get("train", True))
    loss: Any = objective.loss
    if "counts" in inspect.signature(target(task["loss"])).parameters:
        assert len(loss.keywords["counts"]) == len(head.labels)
        loss = loss.func
    check_partial(loss, task["loss"])
    check_object(objective.metrics, task["metrics"])
    assert objective.main_metric == task["main_metric"]
    assert objective.loss_weight == task.get("loss_weight", 1.0)


def check_scheme(scheme: Any, node: Node) -> None:
    """Check a freeze scheme, or each part of a composition."""
    if "parts" in node:
        assert type(scheme) is target(node)
        assert list(scheme.parts) == list(node["parts"])
        for name, part in scheme.parts.items():
            check_object(part, node["parts"][name])
    else:
        check_object(scheme, node)


def check_schedule(schedule: Any, cfg: DictConfig) -> None:
    """Check what decides the content of each step; the length of an epoch has its own test."""
    check_partial(schedule._share_function, cfg.balancing.shares)
    check_partial(schedule._step_function, cfg.step.counts)
    assert schedule.turns == cfg.balancing.turns
    assert schedule.order == cfg.balancing.order
    assert schedule.batch_size == cfg.batch_size
    assert schedule.seed == cfg.seed
    assert schedule.total_steps == schedule.steps_per_epoch * cfg.trainer.max_epochs
    most = cfg.balancing.steps_per_epoch
    assert most is None or schedule.steps_per_epoch <= most


def check_optimizer(module: MultiTaskModule, cfg: DictConfig) -> None:
    """Check the values of the optimizer's groups; the rates of layers have tests of their own."""
    optimizer, node = module.unfreezing.optimizer, cfg.optimizer
    check_partial(module.optimizer_factory, node)
    check_partial(module.scheduler_factory, cfg.scheduler)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["betas"] == tuple(node.betas)
    for group in optimizer.param_groups:
        assert group["eps"] == node.eps
        assert group["weight_decay"] in (node.weight_decay, 0.0)
        if not group[OWN_RATE]:
            highest = max(node.lr, node.head_lr or 0.0) * module.model.freezer.lr_factor(0)
            assert group["initial_lr"] <= highest * (1 + 1e-9)


def check_trainer(trainer: pl.Trainer, cfg: DictConfig) -> None:
    """Check Lightning's trainer, its callbacks and its loggers."""
    node = arguments(cfg.trainer)
    assert type(trainer) is target(cfg.trainer)
    for key in (
        *("max_epochs", "accumulate_grad_batches", "gradient_clip_val", "limit_val_batches"),
        *("limit_test_batches", "check_val_every_n_epoch", "log_every_n_steps", "num_nodes"),
        "num_sanity_val_steps",
    ):
        assert getattr(trainer, key) == node[key], key
    assert trainer.limit_train_batches == 1.0, "the schedule applies the limit"
    assert not trainer._accelerator_connector.use_distributed_sampler
    if isinstance(node["strategy"], Mapping):
        check_object(trainer.strategy, node["strategy"])
    else:
        assert isinstance(trainer.strategy, Strategy)
    if node["devices"] != "auto":
        assert trainer.num_devices == node["devices"]
    check_all(trainer.callbacks, cfg.callbacks, also=(StopOnSignal, Timer))
    check_all(trainer.loggers, cfg.logger)


def check_all(
    made: Iterable[Any], nodes: Mapping[str, Node | None], also: tuple[type, ...] = ()
) -> None:
    """Check that there is an object for each node, and only for them."""
    left = [each for each in made if type(each) not in also]
    for node in nodes.values():
        if node is None:
            continue
        (found,) = [
            each
            for each in left
            if type(each) is target(node) and getattr(each, "monitor", None) == node.get("monitor")
        ]
        check_object(found, {key: node[key] for key in node})
        left.remove(found)
    assert not left, f"callbacks or loggers that no yaml names: {left}"
