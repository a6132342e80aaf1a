from __future__ import annotations

from typing import Any

import pytest

from candelabra.errors import ConfigError
from candelabra.study.arms import alone_overrides, read_arms, run_folder
from candelabra.study.terms import Exposure

ARMS: dict[str, Any] = {"a": {"overrides": ["freeze=encoder"]}, "b": {"differs": "steps"}}


def test_the_baseline_comes_first() -> None:
    base, other = read_arms(ARMS, "b")
    assert (base.name, base.overrides, base.differs) == ("b", (), "steps")
    assert (other.name, other.overrides) == ("a", ("freeze=encoder",))


@pytest.mark.parametrize(
    ("arms", "baseline", "message"),
    [
        ({"a": {}}, "a", "study.arms must be two or more arms, got a"),
        ({}, "a", "study.arms must be two or more arms, got none"),
        (ARMS, "c", "study.baseline must be one of the arms a, b, got 'c'"),
        ({**ARMS, "c": {"freeze": "none"}}, "a", r"study.arms.c: no key 'freeze' \(keys: "),
    ],
)
def test_what_is_no_study(arms: Any, baseline: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_arms(arms, baseline)


def test_a_task_alone_has_the_steps_and_examples_of_the_shared_run() -> None:
    words = alone_overrides("a", ["a", "b", "c"], Exposure(examples=960, steps=60), epochs=3)
    assert {"~tasks.b", "~tasks.c"} <= set(words)
    assert {"balancing.steps_per_epoch=20", "batch_size=16"} <= set(words)


def test_the_folder_of_a_run_depends_on_what_it_learns() -> None:
    config = {"seed": 0, "optimizer": {"lr": 0.1}, "group": "one", "logger": {}}
    same = {**config, "group": "other", "logger": {"csv": {}}}
    assert run_folder(config) == run_folder(same)
    assert run_folder(config) != run_folder({**config, "seed": 1})
    assert run_folder(config) != run_folder({**config, "optimizer": {"lr": 0.2}})
