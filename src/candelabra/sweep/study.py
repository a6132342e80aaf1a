"""The study of a search, which its processes and its later starts share."""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
from optuna.distributions import check_distribution_compatibility

from candelabra.build.search_storage import open_storage
from candelabra.errors import ConfigError
from candelabra.sweep.settings import Direction
from candelabra.sweep.space import SearchSpace


def open_study(
    storage: str,
    name: str,
    *,
    directions: Sequence[Direction],
    space: SearchSpace,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Open the study of a search, or create it.

    Args:
        storage: As in `open_storage`.
        name: Name of the study in the storage.
        directions: `maximize` or `minimize`, for each objective.
        space: The search space.
        sampler: Optuna's sampler.
        pruner: Optuna's pruner.

    Raises:
        ConfigError: The storage cannot be opened, or holds a study of the same name with other
            objectives, choices or settings.
    """
    study = optuna.create_study(
        storage=open_storage(storage),
        sampler=sampler,
        pruner=pruner,
        study_name=name,
        directions=list(directions),
        load_if_exists=True,
    )
    other = f"name another hydra.sweep.dir, or another hydra.sweeper.study_name than {name}"
    _check_directions(study, directions, other)
    _check_overrides(study, list(space.fixed.values()), other)
    _check_space(study, space, other)
    return study


def _check_directions(study: optuna.Study, directions: Sequence[str], other: str) -> None:
    stored = [direction.name.lower() for direction in study.directions]
    if stored != list(directions):
        raise ConfigError(
            f"hydra.sweeper.direction must stay {json.dumps(stored)} in a search that goes on, "
            f"got {json.dumps(list(directions))}: {other}"
        )


def _check_overrides(study: optuna.Study, fixed: list[str], other: str) -> None:
    """Check that all trials share the same overrides, since their scores are compared."""
    stored = study.user_attrs.get("overrides", fixed)
    if stored != fixed:
        changed = sorted({*stored} ^ {*fixed})
        raise ConfigError(
            f"a search that goes on must keep its overrides, {' '.join(changed)} differs: {other}"
        )
    study.set_user_attr("overrides", fixed)


def _check_space(study: optuna.Study, space: SearchSpace, other: str) -> None:
    """Check that the keys and the choices are those of the stored trials."""
    for trial in study.get_trials(deepcopy=False):
        if trial.distributions and trial.distributions.keys() != space.distributions.keys():
            key = min(trial.distributions.keys() ^ space.distributions.keys())
            raise ConfigError(f"a search that goes on must vary the same keys, not {key}: {other}")
        for key, stored in trial.distributions.items():
            try:
                check_distribution_compatibility(stored, space.distributions[key])
            except ValueError as error:
                raise ConfigError(
                    f"{key} must keep its choices in a search that goes on: {other}"
                ) from error
