"""The study of a search, which its processes and its later starts share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import check_distribution_compatibility

from candelabra.build.search_storage import open_storage
from candelabra.errors import ConfigError
from candelabra.run.sweep import must_be_kept
from candelabra.tuning.settings import Direction
from candelabra.tuning.space import SearchSpace
from candelabra.tuning.takeover import FOLDER


def open_study(
    storage: str,
    name: str,
    *,
    objectives: Sequence[str],
    directions: Sequence[Direction],
    space: SearchSpace,
) -> optuna.Study:
    """Open the study of a search, or create it.

    Args:
        storage: As in `open_storage`.
        name: Name of the study in the storage.
        objectives: Metrics by which the trials are compared.
        directions: `maximize` or `minimize`, for each objective.
        space: The search space.

    Raises:
        ConfigError: The storage cannot be opened, or holds a study of the same name with other
            objectives, choices or settings.
    """
    study = optuna.create_study(
        storage=open_storage(storage),
        study_name=name,
        directions=list(directions),
        load_if_exists=True,
    )
    other = "name another hydra.sweep.dir, and another hydra.sweeper.study_name if you name one"
    _check_objectives(study, objectives, directions, other)
    _check_overrides(study, sorted(space.fixed.values()), other)
    _check_space(study, space, other)
    return study


def check_folder(study: optuna.Study, folder: Path) -> None:
    """Check that every run to keep in the folder of a search is a trial of its study.

    Args:
        study: The study.
        folder: Folder of the search, whose trials have a folder there each.

    Raises:
        ConfigError: There is another run that is finished or can be resumed, which a trial would
            replace.
    """
    # Before the trials are read: another process may add one meanwhile.
    runs = [file.parent for file in sorted(folder.glob("*/run.json"))]
    own = {
        trial.user_attrs.get(FOLDER, str(folder / str(trial.number)))
        for trial in study.get_trials(deepcopy=False)
    }
    for run in runs:
        if str(run) not in own and must_be_kept(run):
            raise ConfigError(
                f"hydra.sweep.dir={folder}: {run.name} is no trial of the study "
                f"{study.study_name}: name another hydra.sweep.dir"
            )


def _check_objectives(
    study: optuna.Study, objectives: Sequence[str], directions: Sequence[str], other: str
) -> None:
    """Check that the trials are compared as before, and store by what they are compared."""
    stored = {
        "objectives": study.user_attrs.get("objectives", list(objectives)),
        "direction": [direction.name.lower() for direction in study.directions],
    }
    given = {"objectives": list(objectives), "direction": list(directions)}
    for key in stored:
        if stored[key] != given[key]:
            raise ConfigError(
                f"hydra.sweeper.{key} must stay {json.dumps(stored[key])} in a continued search, "
                f"got {json.dumps(given[key])}: {other}"
            )
    study.set_user_attr("objectives", list(objectives))


def _check_overrides(study: optuna.Study, fixed: list[str], other: str) -> None:
    """Check that all trials share the same overrides, since their scores are compared."""
    stored = study.user_attrs.get("overrides", fixed)
    if stored != fixed:
        changed = sorted({*stored} ^ {*fixed})
        raise ConfigError(
            f"a continued search must keep its overrides, {' '.join(changed)} differs: {other}"
        )
    study.set_user_attr("overrides", fixed)


def _check_space(study: optuna.Study, space: SearchSpace, other: str) -> None:
    """Check that the keys and the choices are those of the stored trials."""
    for trial in study.get_trials(deepcopy=False):
        if trial.distributions and trial.distributions.keys() != space.distributions.keys():
            key = min(trial.distributions.keys() ^ space.distributions.keys())
            raise ConfigError(f"a continued search must vary the same keys, not {key}: {other}")
        for key, stored in trial.distributions.items():
            try:
                check_distribution_compatibility(stored, space.distributions[key])
            except ValueError as error:
                raise ConfigError(
                    f"{key} must keep its choices in a continued search: {other}"
                ) from error
