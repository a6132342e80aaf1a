"""Taking over the trials of a search whose process was killed."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from candelabra.errors import ConfigError
from candelabra.files import read_json
from candelabra.run.place import holder_of

OWNER = "owner"
"""Attribute of a trial: folder of the process that runs it, which holds a lock there."""
FOLDER = "folder"
"""Attribute of a trial: its run folder."""
INTERRUPTED = "interrupted"
"""Attribute of a trial that another one resumes."""
NEW_SECONDS = 60
"""Time after which a trial without an owner is one whose process was killed in the moment."""


def requeue_orphans(study: optuna.Study, *, here: Path) -> None:
    """Put the trials of killed processes into the queue of the study, each with its run folder.

    Args:
        study: The study.
        here: Folder in which this process holds its lock.
    """
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if _is_orphan(trial, here) and _claim(study, trial):
            # A process may have been killed in the middle of taking it over.
            own = trial.user_attrs.keys() - {OWNER, INTERRUPTED}
            attributes = {key: trial.user_attrs[key] for key in own}
            folder = _folder(trial)
            if folder is not None:
                attributes[FOLDER] = folder
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs=attributes,
                    intermediate_values=trial.intermediate_values,
                )
            )


def _is_orphan(trial: FrozenTrial, here: Path) -> bool:
    """Return whether no living process runs a trial that the study says is running."""
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        started = trial.datetime_start
        return started is None or time.time() - started.timestamp() > NEW_SECONDS
    return Path(owner) != here and holder_of(Path(owner)) is None


def _claim(study: optuna.Study, trial: FrozenTrial) -> bool:
    """End a trial, and return whether this process did; of several processes, only one can."""
    storage = study._storage
    try:
        storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)
        return bool(storage.set_trial_state_values(trial._trial_id, TrialState.FAIL))
    except UpdateFinishedTrialError:
        return False


def _folder(trial: FrozenTrial) -> str | None:
    """Return the run folder of a trial, or `None` if the trial did not begin."""
    if FOLDER in trial.user_attrs:
        return str(trial.user_attrs[FOLDER])
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        return None
    folder = read_json(Path(owner) / f"{trial.number:06}.json").get("folder")
    return None if folder is None else str(folder)


def subfolder(folder: str, sweep: Path) -> str:
    """Return the path of a run folder below the folder of its sweep.

    Raises:
        ConfigError: The run was started in another sweep.
    """
    if not Path(folder).is_relative_to(sweep):
        raise ConfigError(
            f"the trial in {folder} was interrupted: go on with hydra.sweep.dir="
            f"{Path(folder).parent}"
        )
    return Path(folder).relative_to(sweep).as_posix()
