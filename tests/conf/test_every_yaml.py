"""Every option of every group composes, is built, and takes two steps, offline.

The folder is walked: a new yaml is tested here at once. What it needs beyond its own name, such as
a stand-in for a data set or a pretrained model, is to be added here or to `stand_ins.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, flag_override

from candelabra import build
from candelabra.bundle import load
from candelabra.commands.verbatim import compose as compose_command
from candelabra.config import SCHEMAS, new_run_id, register
from candelabra.data.tokens import TRUNCATIONS
from candelabra.errors import ConfigError
from candelabra.records import Tokens
from candelabra.running import train
from candelabra.training.run_folder import RunFolder
from candelabra.trusted import conf_dir
from candelabra.validation import validate
from stand_ins import HUB_MODELS, write_data, write_model

FILES = sorted(
    str(file.relative_to(conf_dir()).with_suffix("")) for file in conf_dir().rglob("*.yaml")
)
COMMANDS = [name for name in FILES if "/" not in name]
PARTS = [name for name in FILES if "/base/" in name]
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
    "head/multilabel": ["head@tasks.sentiment.head=linear", "+task@tasks.it=sample_mentions"],
    "head/regression": ["head@tasks.sentiment.head=linear", "+task@tasks.it=sample_counts"],
    "loss/binary_cross_entropy": [*PLAIN_LOSSES, "+task@tasks.it=sample_mentions"],
    "loss/squared_error": [*PLAIN_LOSSES, "+task@tasks.it=sample_counts"],
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


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hub id -> a folder with a tiny model of the same architecture and positions."""
    root = tmp_path_factory.mktemp("models")
    return {
        name: str(write_model(root / str(place), *kind))
        for place, (name, kind) in enumerate(HUB_MODELS.items())
    }


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account, no network, and no W&B run left open."""
    for name, value in {"WANDB_MODE": "offline", "HOME": tmp_path, "NETRC": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    places = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
    for name in places:
        monkeypatch.setenv(name, "")  # so that what Lightning sets is taken back
        monkeypatch.delenv(name)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


@pytest.fixture
def settings(tmp_path: Path, data_dir: Path, cache_dir: Path) -> list[str]:
    """Where a run reads and writes."""
    folders = {"data_dir": data_dir, "paths.output_dir": tmp_path, "paths.cache_dir": cache_dir}
    return [f"{key}={folder}" for key, folder in folders.items()]


def words(name: str) -> list[str]:
    """The overrides that choose an option."""
    group, _, option = name.rpartition("/")
    usual = [word.format(option=option) for word in BY_GROUP.get(group, [f"{group}={option}"])]
    needed = NEEDED.get(name, [])
    keys = {word.partition("=")[0] for word in needed}
    return [word for word in usual if word.partition("=")[0] not in keys] + needed


def composed(overrides: list[str], folder: Path) -> DictConfig:
    """The configuration as `candelabra train` hands it to `validate`."""
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(cfg)
    with flag_override(cfg, ["struct", "readonly"], False):
        del cfg["hydra"]
    return cfg


def two_steps(overrides: list[str], folder: Path) -> dict[str, float]:
    """Trains on the one path that every run takes; gives its metrics."""
    cfg = composed(overrides, folder)
    validate(cfg)
    record = RunFolder(folder, new_run_id())
    metrics = train(cfg, record)
    assert record.record["steps"] == 2
    assert torch.isfinite(torch.tensor(list(metrics.values()))).all()
    return metrics


def usual(name: str) -> bool:
    return not name.startswith(("encoder/", "sweep/", "logger/")) and name != "trainer/gpu"


@pytest.mark.parametrize("name", [name for name in OPTIONS if usual(name)])
def test_takes_two_steps(name: str, settings: list[str], tmp_path: Path) -> None:
    metrics = two_steps([*SMALL, *settings, *words(name)], tmp_path)
    assert -1 <= metrics["val/score"] <= 1  # a correlation may be negative


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("balancing/")])
def test_balancing_takes_two_alternate_steps(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    metrics = two_steps([*SMALL, *settings, *words(name), "step=alternate"], tmp_path)
    assert 0 <= metrics["val/score"] <= 1


def test_a_layer_mix_takes_two_steps(settings: list[str], tmp_path: Path) -> None:
    mixes = [f"tasks.{task}.layer_mix=true" for task in ("sentiment", "movie")]
    two_steps([*SMALL, *settings, *mixes], tmp_path)
    names = safetensors.torch.load_file(tmp_path / "bundle" / "heads.safetensors")
    assert {"mixes.sentiment.s", "mixes.movie.gamma"} <= set(names)
    assert set(load(tmp_path / "bundle").model.mixes) == {"sentiment", "movie"}


@pytest.mark.parametrize("name", ["cagrad", "pcgrad"])
def test_gradients_of_three_tasks_are_weighed(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    """By a solver of ours and by torchjd."""
    third = ["+task@tasks.third=sample_reviews", f"weighting={name}"]
    limits = ["trainer.limit_val_batches=3", "trainer.limit_test_batches=3"]
    metrics = two_steps([*SMALL, *settings, *third, *limits], tmp_path)
    assert 0 <= metrics["val/score"] <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["step=alternate"], "every task in every step"),
        (["freeze=encoder"], "shared parameters that learn"),
        (["~tasks.movie"], "two or more tasks"),
    ],
)
def test_a_weighting_of_gradients_is_refused_before_training(
    overrides: list[str], message: str, settings: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        two_steps([*SMALL, *settings, "weighting=pcgrad", *overrides], tmp_path)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("logger/")])
def test_logger_records_two_steps(name: str, settings: list[str], tmp_path: Path) -> None:
    small = [word for word in SMALL if word != "logger=csv"]
    overrides = [*small, *settings, "trainer.log_every_n_steps=1", *words(name)]
    loggers = set(composed(overrides, tmp_path).logger)
    two_steps(overrides, tmp_path)
    assert loggers <= {"csv", "wandb", "tensorboard"}
    assert (tmp_path / "metrics.csv").exists() is ("csv" in loggers)
    assert (tmp_path / "wandb").exists() is ("wandb" in loggers)
    assert bool(list(tmp_path.rglob("events.out.*"))) is ("tensorboard" in loggers)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("encoder/")])
def test_encoder_takes_two_steps(
    name: str, settings: list[str], tmp_path: Path, stand_ins: dict[str, str]
) -> None:
    small = [word for word in SMALL if not word.startswith("encoder=")]
    overrides = [*small, *settings, *words(name)]
    cfg = composed(overrides, tmp_path)
    validate(cfg)
    given = cfg.encoder.get("name", "")
    if given and not given.startswith("package:"):
        overrides += [f"encoder.name={stand_ins[given]}"]
    two_steps(overrides, tmp_path)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("encoder/")])
def test_encoder_has_room_for_its_max_length(
    name: str, truncation: str, tmp_path: Path, stand_ins: dict[str, str]
) -> None:
    node = composed([*words(name), f"encoder.truncation={truncation}"], tmp_path).encoder
    if "name" in node and not node.name.startswith("package:"):
        node.name = stand_ins[node.name]
    backbone = build.backbone(node)
    texts = backbone.tokenizer()(["a film " * node.max_length, "a film"])
    assert list(texts.lengths) == [node.max_length, texts.lengths[1]]
    ids = torch.from_numpy(texts.text(0).copy())[None].long()
    encoder = backbone.load().eval()
    with torch.inference_mode():
        hidden = encoder(Tokens(ids, torch.ones_like(ids))).hidden_BLD
    assert hidden.shape == (1, node.max_length, encoder.width)
    assert hidden.isfinite().all()


def test_gpu_trainer_says_that_there_is_none(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed([*SMALL, *settings, "trainer=gpu"], tmp_path)
    validate(cfg)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(ConfigError, match=r"accelerator=gpu: this machine has no usable GPU"):
        train(cfg, RunFolder(tmp_path, new_run_id()))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("sweep/")])
def test_every_trial_of_a_sweep_takes_two_steps(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=words(name), return_hydra_config=True)
    params = cfg.hydra.sweeper.params
    choices = [[f"{key}={value}" for value in params[key].split(",")] for key in params]
    for place, trial in enumerate(product(*choices)):
        two_steps([*SMALL, *settings, *words(name), *trial], tmp_path / str(place))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_composes(name: str, tmp_path: Path) -> None:
    register()
    cfg = composed([], tmp_path) if name == "train" else compose_command(name, [])
    assert set(cfg) == {field.name for field in fields(SCHEMAS[name])}


@pytest.mark.parametrize("name", [*COMMANDS, *OPTIONS])
def test_opens_with_the_command_that_runs_it(name: str) -> None:
    lines = (conf_dir() / f"{name}.yaml").read_text().splitlines()
    comments = [line for line in lines if line.startswith("#") and "@package" not in line]
    assert re.match(r"# candelabra (train|evaluate|predict)\b", comments[0])


@pytest.mark.parametrize("name", PARTS)
def test_part_is_used_by_an_option(name: str) -> None:
    group, _, part = name.partition("/")
    users = [
        file for file in (conf_dir() / group).glob("*.yaml") if f"- {part}@" in file.read_text()
    ]
    assert users


def test_no_file_is_left_out() -> None:
    assert sorted([*COMMANDS, *PARTS, *OPTIONS]) == FILES
    assert set(COMMANDS) == set(SCHEMAS)
    assert set(NEEDED) <= set(OPTIONS)
    assert {file.suffix for file in conf_dir().rglob("*.*") if file.is_file()} == {".yaml"}
