"""The search space of a sweep: what its overrides vary, and what they fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from omegaconf import DictConfig
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from candelabra.config.ranges import rule_of
from candelabra.errors import ConfigError, naming


@dataclass(frozen=True)
class SearchSpace:
    """Settings that the trials of a search vary, and those that they share.

    Attributes:
        distributions: Optuna's distribution of each key that varies.
        fixed: Override that every trial gets, by its key.
    """

    distributions: Mapping[str, BaseDistribution]
    fixed: Mapping[str, str]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return the Hydra overrides of a trial with these parameters."""
        chosen = (f"{key}={word_of(params[key])}" for key in self.distributions)
        return [*self.fixed.values(), *chosen]


def word_of(value: Any) -> str:
    """Return a value as Hydra's grammar writes it.

    Example:
        >>> word_of(True), word_of(1e-05), word_of("crf")
        ('true', '1e-05', 'crf')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def search_space(words: Iterable[str], loader: ConfigLoader | None = None) -> SearchSpace:
    """Return the search space of Hydra overrides; a later override of a key replaces an earlier.

    Args:
        words: Overrides such as `seed=1`, `seed=1,2`, `seed=range(1,9)`, `optimizer.lr=interval(
            1e-4, 1e-3)` and `optimizer.lr=tag(log, interval(1e-4, 1e-3))`.
        loader: Hydra's loader of configurations, which `glob(*)` asks for the options of a group.

    Raises:
        ConfigError: Nothing varies, or the limits of a number are wrong.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        key = override.get_key_element()
        distributions.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            with naming(key):
                distributions[key] = distribution_of(override)
        else:
            assert override.input_line is not None, "every override is parsed from a line"
            fixed[key] = override.input_line
    if not distributions:
        raise ConfigError(
            "hydra/sweeper=optuna must be given a key to search, such as "
            "'optimizer.lr=tag(log, interval(1e-4, 1e-3))'; found none in the command and in "
            "hydra.sweeper.params"
        )
    return SearchSpace(distributions, fixed)


def distribution_of(override: Override) -> BaseDistribution:
    """Return Optuna's distribution of an override that sweeps.

    Raises:
        ValueError: The limits of a number are in the wrong order, or a range is empty.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        limits: list[Any] = [value.start, value.end]
        low, high = limits
        if all(isinstance(limit, int) for limit in limits):
            return IntDistribution(low, high, log="log" in value.tags)
        return FloatDistribution(low, high, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _distribution_of_range(override, value)
    choices: list[Any] = list(override.sweep_iterator(transformer=_choice))
    return CategoricalDistribution(choices)


def _choice(value: Any) -> Any:
    """Return a choice as Optuna stores it: a number as it is, another value as Hydra writes it."""
    return value if isinstance(value, (bool, int, float)) else Transformer.str(value)


def _distribution_of_range(override: Override, value: RangeSweep) -> BaseDistribution:
    """Return the distribution of `range(start, stop, step)`, without its stop as in Python."""
    sweep: Iterable[Any] = override.sweep_iterator()
    numbers = sorted(sweep)
    if not numbers:
        raise ValueError(f"a range must hold a number, found {override.input_line!r}")
    low, high, step = numbers[0], numbers[-1], abs(value.step)
    if all(isinstance(number, int) for number in numbers):
        if "log" in value.tags:
            return IntDistribution(low, high, log=True)
        return IntDistribution(low, high, step=int(step))
    return FloatDistribution(low, high, step=step)


def check_space(space: SearchSpace, config: DictConfig, loader: ConfigLoader) -> None:
    """Check what the trials vary, before the first of them.

    Args:
        space: The search space.
        config: Hydra's configuration of the sweep.
        loader: Hydra's loader of configurations.

    Raises:
        ConfigError: A value breaks the rule of its key.
        HydraException: A key or an option does not exist.
    """
    first = {key: _values(each)[0] for key, each in space.distributions.items()}
    loader.load_sweep_config(config, space.overrides(first))
    for key, distribution in space.distributions.items():
        group = key.lstrip("+~").partition("@")[0]
        if loader.get_group_options(group):
            for option in _values(distribution)[1:]:
                loader.load_sweep_config(config, space.overrides({**first, key: option}))
        else:
            _check_values(key.lstrip("+"), distribution)


def _values(distribution: BaseDistribution) -> list[Any]:
    """Return the choices of a distribution, or its lowest and highest number."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return [distribution.low, distribution.high]


def _check_values(key: str, distribution: BaseDistribution) -> None:
    rule = rule_of(tuple(key.split(".")))
    for value in _values(distribution) if rule is not None else ():
        # Lists, mappings, quotes and interpolations are checked in the configuration of the trial.
        if rule is not None and not (isinstance(value, str) and set(value) & set("[{\"'\\$")):
            rule(key, None if value == "null" else value)
