"""The settings of a search, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import OmegaConf

from candelabra.build.instantiate import make
from candelabra.config.keys import check_known_keys
from candelabra.config.ranges import rule_of
from candelabra.errors import ConfigError

Direction = Literal["maximize", "minimize"]
KEY = "hydra.sweeper"
OF_THE_RUN = ("fit_seconds", "examples_per_second", "tokens_per_second")
"""Objectives that `run.json` holds; the others are metrics."""
METRIC = re.compile(r"(val|test)/(score|[^/]+/.+)")
"""Names of metrics in `metrics.json`."""
NO_PRUNER = "optuna.pruners.NopPruner"


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `hydra/sweeper=optuna`; `conf/hydra/sweeper/optuna.yaml` describes them.

    Attributes:
        directions: `direction`, as a list with one entry for each objective.
    """

    objectives: Sequence[str]
    directions: Sequence[Direction]
    n_trials: int
    n_jobs: int | None
    storage: str | None
    study_name: str | None
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def monitor(self) -> str | None:
        """Return the metric of each validation that may end a trial early, if there is one."""
        first = self.objectives[0]
        return first if len(self.objectives) == 1 and first.startswith("val/") else None


def search_settings(given: Mapping[str, Any]) -> SearchSettings:
    """Return the checked settings of a search.

    Args:
        given: The keys of `hydra.sweeper`.

    Raises:
        ConfigError: A key is unknown, or a value is outside its range.
    """
    values: dict[str, Any] = {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in given.items()
    }
    known = {*SearchSettings.__dataclass_fields__} - {"directions"} | {"direction"}
    check_known_keys(KEY, values, sorted(known))
    for path, value in _leaves(values):
        rule = rule_of(("hydra", "sweeper", *path))
        if rule is not None:
            rule(".".join((KEY, *path)), value)
    direction = values.pop("direction")
    directions: list[Direction] = direction if isinstance(direction, list) else [direction]
    settings = SearchSettings(directions=directions, **{**values, "params": values["params"] or {}})
    _check_objectives(settings)
    # Optuna refuses a setting here, before the first trial.
    make(settings.sampler, f"{KEY}.sampler")
    make(settings.pruner, f"{KEY}.pruner")
    return settings


def _leaves(node: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the values of the settings, and of the mappings `sampler` and `pruner`."""
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for key, value in node.items():
        leaves.append(((str(key),), value))
        if key in ("sampler", "pruner") and isinstance(value, Mapping):
            leaves += [((str(key), str(name)), inner) for name, inner in value.items()]
    return leaves


def _check_objectives(settings: SearchSettings) -> None:
    objectives, directions = settings.objectives, settings.directions
    if not objectives:
        raise ConfigError(f"{KEY}.objectives must name a metric, such as val/score; found []")
    if len(objectives) != len(directions):
        raise ConfigError(
            f"{KEY}.direction must have a direction for each of the {len(objectives)} objectives, "
            f"got {list(directions)}"
        )
    for place, name in enumerate(objectives):
        if METRIC.fullmatch(name) is None and name not in OF_THE_RUN:
            raise ConfigError(
                f"{KEY}.objectives[{place}] must be a metric such as val/score or val/TASK/METRIC, "
                f"or one of {', '.join(OF_THE_RUN)}; got {name!r}"
            )
    if settings.pruner["_target_"] == NO_PRUNER or settings.monitor is not None:
        return
    if len(objectives) > 1:
        raise ConfigError(
            "trials of several objectives cannot be stopped early: add hydra/sweeper/pruner=none"
        )
    raise ConfigError(
        f"trials are stopped early by a metric of validation, not by {objectives[0]}: add "
        "hydra/sweeper/pruner=none"
    )
