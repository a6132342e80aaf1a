"""What the overrides of a search vary."""

from __future__ import annotations

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from candelabra.errors import ConfigError
from candelabra.tuning.space import search_space


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(1e-4, 1e-3)", FloatDistribution(1e-4, 1e-3)),
        ("tag(log, interval(1e-4, 1e-3))", FloatDistribution(1e-4, 1e-3, log=True)),
        ("int(interval(1, 5))", IntDistribution(1, 5)),
        ("int(tag(log, interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("interval(1, 5)", FloatDistribution(1.0, 5.0)),
        ("range(1, 10, 3)", IntDistribution(1, 7, step=3)),
        ("range(10, 1, -3)", IntDistribution(4, 10, step=3)),
        ("range(0.0, 1.0, 0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("tag(log, range(1, 65))", IntDistribution(1, 64, log=True)),
        ("a,1,.5,true,null", CategoricalDistribution(["a", 1, 0.5, True, "null"])),
        ("choice('x, y', z)", CategoricalDistribution(["x\\,\\ y", "z"])),
        ("a,b", CategoricalDistribution(["a", "b"])),
        ("choice([1, 2], {a: 1})", CategoricalDistribution(["[1,2]", "{a:1}"])),
    ],
)
def test_grammar_of_hydra_is_a_distribution_of_optuna(
    text: str, distribution: BaseDistribution
) -> None:
    assert search_space([f"key={text}"]).distributions == {"key": distribution}


def test_a_trial_gets_what_is_fixed_and_what_is_chosen() -> None:
    space = search_space(["a=1,2", "b='x y'", "~c", "d@e.f=g,h", "i=choice(true,false)"])
    words = space.overrides({"a": 2, "d@e.f": "g", "i": False})
    assert words == ["b='x y'", "~c", "a=2", "d@e.f=g", "i=false"]


def test_the_last_override_of_a_key_counts() -> None:
    space = search_space(["a=1,2", "b=1", "a=3", "b=interval(0, 1)"])
    assert (list(space.distributions), space.fixed) == (["b"], {"a": "a=3"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1"], "must be given a key to search"),
        (["optimizer.lr=interval(1e-3,1e-4)"], r"optimizer\.lr: `low <= high` must hold"),
        (["optimizer.lr=tag(log, interval(0, 1))"], r"optimizer\.lr: `low > 0` must hold"),
        (["seed=range(1,1)"], "seed: a range must hold a number, found 'seed=range"),
    ],
)
def test_wrong_limits_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_space(words)
