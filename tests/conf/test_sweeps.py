"""Every value that a sweep of conf/sweep tries is trained with."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from candelabra.config.schema import register
from candelabra.config.targets import conf_dir
from helpers.composing import OPTIONS, SMALL, two_steps, words


def tried(key: str, text: str) -> list[str]:
    """The overrides that a parameter of a sweep stands for; of an interval its ends."""
    override = OverridesParser.create().parse_override(f"{key}={text}")
    if override.is_interval_sweep():
        interval = override.value()
        return [f"{key}={end}" for end in (interval.start, interval.end)]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def settings_of(node: DictConfig, key: str = "") -> dict[str, Any]:
    """Each value below a node, by its key."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        below = isinstance(value, DictConfig)
        found |= settings_of(value, f"{key}{name}.") if below else {f"{key}{name}": value}
    return found


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("sweep/")])
def test_a_sweep_keeps_its_own_settings_beside_the_experiment_of_its_command(name: str) -> None:
    """Otherwise a search is one of other settings than its file has, and nothing says so."""
    register()
    yaml = conf_dir() / f"{name}.yaml"
    command = yaml.read_text().splitlines()[1].split()
    typed = [word for word in command if word.startswith(("sweep=", "experiment="))]
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=typed, return_hydra_config=True)
    own = OmegaConf.load(yaml)
    assert isinstance(own, DictConfig)
    for other in ("defaults", "hydra"):
        own.pop(other, None)
    for key, value in settings_of(own).items():
        assert OmegaConf.select(cfg, key) == value, key


LONG = ("sweep/contrastive_losses",)
"""Sweeps of many values, each of which takes two steps."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LONG else ())
        for name in OPTIONS
        if name.startswith("sweep/")
    ],
)
def test_every_value_of_a_sweep_takes_two_steps(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=words(name), return_hydra_config=True)
    params = [tried(key, text) for key, text in cfg.hydra.sweeper.params.items()]
    for place, trial in enumerate(zip_longest(*params)):
        chosen = [value or values[0] for value, values in zip(trial, params, strict=True)]
        two_steps([*SMALL, *settings, *words(name), *chosen], tmp_path / str(place))


def test_a_search_leaves_the_test_splits_alone(settings: list[str], tmp_path: Path) -> None:
    metrics = two_steps([*SMALL, *settings, "test=false"], tmp_path)
    assert {key.partition("/")[0] for key in metrics} == {"val"}
    assert not (tmp_path / "predictions").exists()
