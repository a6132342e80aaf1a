"""Ranges of settings, checked before any data are read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_object
from omegaconf import MISSING

from candelabra.config import common_rules, key_rules
from candelabra.config.ranges import rule_of
from candelabra.config.rules import allows, checked_elsewhere, choice, node_of_a_task, settings
from candelabra.config.schema import SCHEMAS
from candelabra.config.targets import conf_dir
from candelabra.config.validation import GROUPS
from candelabra.data.mixing.balancing import RULES, TURNS
from candelabra.data.mixing.order import ORDERS
from candelabra.data.truncation import TRUNCATIONS
from helpers.command_line import called, wrong

CASES = {
    "batch_size=99999999999999999999": "batch_size must be at most",
    "trainer.log_every_n_steps=[]": "trainer.log_every_n_steps must be a whole number",
    "trainer.num_nodes=0": "trainer.num_nodes must be a whole number of at least 1, got 0",
    "callbacks.gradients.every_n_steps=0": "callbacks.gradients.every_n_steps must be a whole",
    "callbacks.best.monitor=val/scor": "callbacks.best.monitor must be one of val/score",
    "callbacks.best.monitor=7": "callbacks.best.monitor must be text, got 7",
    "callbacks.best=5": "callbacks.best must be settings",
    "tasks.sentiment.limit=5": "tasks.sentiment.limit must be a mapping such as {train: VALUE}",
    "tasks.sentiment.limit.train=0": "tasks.sentiment.limit.train must be a whole number of at",
    "tasks.sentiment.source.name=5": "tasks.sentiment.source.name must be text, got 5",
    "tasks.sentiment.head=5": "tasks.sentiment.head must be settings",
    "tasks.sentiment.validation=0": "tasks.sentiment.validation must be a part above 0",
    "trainer.devices=.5": "trainer.devices must be auto, -1, a number from 1 to 1024",
    "trainer.devices=2000000000": "trainer.devices must be auto",
    "trainer.val_check_interval=0": "trainer.val_check_interval must be a part above 0",
    "trainer.precision=fp8": "trainer.precision must be one of",
    "trainer.limit_val_batches=[]": "trainer.limit_val_batches must be a part from 0",
    "paths.output_dir=2024": "quotes make it text: 'paths.output_dir=\"2024\"'",
    "optimizer.betas=[.9]": "optimizer.betas must be a list of 2 values",
    "optimizer.lr=nan": "optimizer.lr must be a number above 0, got nan",
    "+optimizer.foo=1": "no key 'optimizer.foo' (keys of optimizer: ",
    "+tasks.sentiment.loss.scael=1": "no key 'tasks.sentiment.loss.scael'; did you mean 'scale'?",
    "encoder=[1,2]": "encoder takes the name of an option, got '[1,2]'",
    "pooling=[null]": "pooling takes the name of an option, got '[null]'",
    "task@tasks.sentiment=null": "task takes the name of an option, got 'null'",
    "head@tasks.sentiment.head=true": "head takes the name of an option, got 'true'",
    "pooling=null": "pooling takes the name of an option, got 'null'",
    "balancing=base/common": "balancing takes the name of an option, got 'base/common'",
    "experiment=null": "experiment takes the name of an option, got 'null'; without",
    "debug=null": "debug takes the name of an option, got 'null'; without debug= there is none",
}


@pytest.mark.parametrize("override", CASES)
def test_value_outside_its_range_is_one_message(override: str) -> None:
    message = wrong(override)
    assert CASES[override] in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks.movie.head.dropout=2"], "tasks.movie.head.dropout must be a number at least 0"),
        (["+tasks.movie.head.foo=1"], "no key 'tasks.movie.head.foo'"),
        (["adapter=lora", "adapter.dropout=2"], "adapter.dropout must be a number at least 0"),
        (
            ["freeze=lower_layers", "freeze.num_layers=two"],
            "freeze.num_layers must be a number of layers",
        ),
        (["weighting=nash", "weighting.scheme.max_norm=-1"], "weighting.scheme.max_norm must be"),
        (["weighting=famo", "weighting.bound=x"], "weighting.bound must be a number, got 'x'"),
        (
            ["loss@tasks.movie.loss=focal", "tasks.movie.loss.gamma=x"],
            "tasks.movie.loss.gamma must be a number at least 0, got 'x'",
        ),
        (["tasks.movie.loss.label_smoothing=2"], "tasks.movie.loss.label_smoothing must be"),
        (["trainer.accelerator=foo"], "trainer.accelerator must be one of auto, cpu"),
    ],
)
def test_value_of_a_class_is_checked_before_the_class_is_made(
    words: list[str], message: str
) -> None:
    assert message in wrong(*words)


@pytest.mark.parametrize("command", SCHEMAS)
def test_schema_holds_types_alone(command: str) -> None:
    names = SCHEMAS[command].__dataclass_fields__
    groups = {name for name, field in names.items() if field.default is None}
    assert groups <= {*GROUPS}, "None says that no option of the group is chosen"
    assert {name for name, field in names.items() if field.default != MISSING} == groups


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "batch_size=99999999999999999999"], "batch_size must be at most 2147483647"),
        (["embed", "processes=9999"], "processes must be at most 1024, got 9999"),
        (["embed", "encoder=[1,2]"], "encoder takes the name of an option, got '[1,2]'"),
        (["search", "encoder.max_length=2"], "encoder.max_length must be a whole number of at"),
        (["evaluate", "split=tets"], "split must be one of train, validation, test, got 'tets'"),
        (["compare", "resamples=0"], "resamples must be a whole number of at least 1, got 0"),
        (["export", "limit=0"], "limit must be a whole number of at least 1, got 0"),
        (["similarity", "encoder=hub"], "encoder.name must be given: add encoder.name=VALUE"),
    ],
)
def test_every_command_checks_its_keys(words: list[str], message: str) -> None:
    done = called(*words)
    assert done.status == 2
    assert message in done.message


def places(file: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield where the yamls of conf/ put their values, with the values."""
    content = yaml.safe_load(file.read_text()) or {}
    content.pop("defaults", None)
    content.pop("hydra", None)
    group, *below = file.relative_to(conf_dir()).parts
    start: dict[str, tuple[str, ...]] = {
        "task": ("tasks", "NAME"),
        "head": ("tasks", "NAME", "head"),
        "loss": ("tasks", "NAME", "loss"),
        "hydra": ("hydra", *below[:-1]),
    }
    is_global = "@package _global_" in file.read_text() or group.endswith(".yaml")
    yield () if is_global else start.get(group, (group,)), content


def keys(path: tuple[str, ...], node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in node.items():
        yield (*path, name), value
        if isinstance(value, Mapping) and rule_of((*path, name)) in common_rules.NODES:
            yield from keys((*path, name), value)


FILES = sorted(conf_dir().rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(conf_dir())))
def test_every_key_of_a_yaml_has_a_rule_that_its_value_follows(file: Path) -> None:
    for path, content in places(file):
        for place, value in keys(path, content):
            rule = rule_of(place)
            assert rule is not None, ".".join(place)
            if value != "???" and "${" not in str(value):
                rule(".".join(place), value)


def test_every_setting_of_a_class_that_code_does_not_fill_has_a_rule() -> None:
    """So that a key which no yaml sets is not refused."""
    made_with = {"labels", "counts", "tasks", "width", "scheme"}
    for file in FILES:
        for path, content in places(file):
            target = content.get("_target_", "")
            if not target.startswith("candelabra.") or "metrics" in target:
                continue
            for name, parameter in inspect.signature(get_object(target)).parameters.items():
                if parameter.kind is parameter.KEYWORD_ONLY and name not in made_with:
                    assert rule_of((*path, name)), f"{'.'.join(path)}.{name} of {target}"


CHOICES = {
    "balancing.epoch": RULES,
    "balancing.turns": TURNS,
    "balancing.order": ORDERS,
    "encoder.truncation": TRUNCATIONS,
}


@pytest.mark.parametrize("key", CHOICES)
def test_choices_are_those_of_the_code(key: str) -> None:
    rule = key_rules.RULES[key]
    assert all(allows(rule, key, option) for option in CHOICES[key])
    with pytest.raises(ValueError, match=f"must be one of {', '.join(CHOICES[key])},"):
        rule(key, "no such choice")


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}])
def test_no_rule_fails_for_a_value_of_a_strange_type(value: object) -> None:
    for key, rule in key_rules.RULES.items():
        assert allows(rule, key, value) is (rule in (checked_elsewhere, node_of_a_task))
    assert not allows(settings, "key", [])
    assert not allows(choice(1), "key", True)
