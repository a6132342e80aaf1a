"""A search: trials that Optuna suggests and a Hydra launcher runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from candelabra.build.instantiate import make
from candelabra.config.grammar import quoted
from candelabra.config.messages import explained
from candelabra.config.search_rules import OBJECTIVES
from candelabra.errors import ConfigError, UserError
from candelabra.files import read_json, write_json, write_text
from candelabra.run.place import run_lock
from candelabra.run.sweep import Sweep, outcome
from candelabra.tuning.settings import KEY, SearchSettings
from candelabra.tuning.space import SearchSpace, check_space, search_space
from candelabra.tuning.study import check_folder, open_study
from candelabra.tuning.takeover import FOLDER, INTERRUPTED, OWNER, requeue_orphans, subfolder

JOURNAL = "search.journal"
"""Name of the storage in the folder of a sweep, if none is given."""
RESULTS = "optimization_results.yaml"
"""File of the best parameters, by the name that Hydra's own sweeper gave it."""


class Search:
    """Ask Optuna for trials, launch them, and tell Optuna their results.

    Several processes may run the same search. Each takes further trials until there are enough.

    Args:
        settings: Settings of the search.
        config: Hydra's configuration of the sweep.
        loader: Hydra's loader of configurations.
        launcher: Hydra's launcher.
    """

    def __init__(
        self,
        settings: SearchSettings,
        config: DictConfig,
        loader: ConfigLoader,
        launcher: Launcher,
    ) -> None:
        self.settings = settings
        self.config = config
        self.loader = loader
        self.launcher = launcher
        self.folder = Path(config.hydra.sweep.dir).absolute()
        storage = settings.storage or str(self.folder / JOURNAL)
        self.storage = storage if "://" in storage else str(Path(storage).absolute())
        self.name = settings.study_name or self.folder.name

    def run(self, arguments: Sequence[str]) -> None:
        """Run trials until the study has `n_trials` of them.

        Args:
            arguments: Overrides of the command, which replace those of `params`.

        Raises:
            ConfigError: A setting is wrong; no trial was started.
        """
        params = [f"{key}={value}" for key, value in self.settings.params.items()]
        with explained(arguments):
            space = search_space([*params, *arguments], self.loader)
            check_space(space, self.config, self.loader)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Only the lock tells another process that the trials of this one still run.
        with run_lock(Sweep().begun, writes=True):
            OmegaConf.save(self.config, self.folder / "multirun.yaml")
            study = self._study(space)
            check_folder(study, self.folder)
            self._rank_by_objectives()
            requeue_orphans(study, here=Sweep().begun)
            try:
                while trials := self._ask(study, space):
                    self._launch(study, trials, space)
            finally:
                self._show_all(study, space)
        write_text(self.folder / RESULTS, results(study, self.settings.objectives))

    def _study(self, space: SearchSpace) -> optuna.Study:
        """Open the study, with a sampler that repeats nothing of an earlier start."""
        study = open_study(
            self.storage,
            self.name,
            objectives=self.settings.objectives,
            directions=self.settings.directions,
            space=space,
        )
        sampler = dict(self.settings.sampler)
        if sampler.get("seed") is not None:
            sampler["seed"] = (sampler["seed"] + len(study.get_trials(deepcopy=False))) % 2**32
        study.sampler = make(sampler, f"{KEY}.sampler")
        study.pruner = make(self.settings.pruner, f"{KEY}.pruner")
        return study

    def _rank_by_objectives(self) -> None:
        """Sort the table of the sweep, whose highest value is the best, by the first objective."""
        objectives, sweep = list(self.settings.objectives), Sweep()
        maximized = self.settings.directions[0] == "maximize"
        if maximized and not sweep.columns and objectives[0].startswith("val/"):
            sweep.columns = objectives

    def _ask(self, study: optuna.Study, space: SearchSpace) -> list[optuna.Trial]:
        """Ask for the trials of the next batch; none if the search has enough of them."""
        trials: list[optuna.Trial] = []
        together = self._together(space)
        while len(trials) < together and _wants_more(study, self.settings.n_trials):
            trial = study.ask(dict(space.distributions))
            trial.set_user_attr(OWNER, str(Sweep().begun))
            trials.append(trial)
        return trials

    def _together(self, space: SearchSpace) -> int:
        """Return how many trials to ask for together: `n_jobs`, or as many as run at a time."""
        if self.settings.n_jobs is not None:
            return self.settings.n_jobs
        at_once = getattr(self.launcher, "at_once", None)  # only the launcher `local` chooses
        return 1 if at_once is None else int(at_once(list(space.fixed.values())))

    def _launch(
        self, study: optuna.Study, trials: Sequence[optuna.Trial], space: SearchSpace
    ) -> None:
        """Run a batch of trials, and tell their results."""
        composed = [trial for trial in trials if self._composes(study, trial, space)]
        Sweep().searches = {trial.number: self._connection(trial) for trial in composed}
        for batch in _consecutive(composed):
            words = [self._words(trial, space) for trial in batch]
            self.launcher.launch(words, initial_job_idx=batch[0].number)
            for trial in batch:
                self._tell(study, trial)

    def _words(self, trial: optuna.Trial, space: SearchSpace) -> list[str]:
        """Return the overrides of a trial; one that is resumed keeps its folder."""
        words = space.overrides(trial.params)
        if FOLDER in trial.user_attrs:
            name = subfolder(trial.user_attrs[FOLDER], self.folder)
            words.append(f"hydra.sweep.subdir={quoted(name)}")
        return words

    def _connection(self, trial: optuna.Trial) -> str:
        """Return what `build.pruning` needs in the process of a trial."""
        return json.dumps(
            {
                "storage": self.storage,
                "study_name": self.name,
                "trial_id": trial._trial_id,
                "pruner": dict(self.settings.pruner),
                "monitor": self.settings.monitor,
                "objectives": list(self.settings.objectives),
            }
        )

    def _composes(self, study: optuna.Study, trial: optuna.Trial, space: SearchSpace) -> bool:
        """Return whether the configuration of a trial composes; record a failed trial if not."""
        words = self._words(trial, space)
        try:
            with explained(words):
                self.loader.load_sweep_config(self.config, words)
        except UserError as error:
            folder = self.folder / str(trial.number)
            overrides = space.overrides(trial.params)
            Sweep().begin(trial.number, folder, overrides)
            failed = {"overrides": overrides, "status": "failed", "error": str(error)}
            write_json(folder / "run.json", failed)
            self._tell(study, trial)
            return False
        return True

    def _tell(self, study: optuna.Study, trial: optuna.Trial) -> None:
        """Tell the study how a trial ended, except an interrupted trial, which will be resumed.

        Raises:
            ConfigError: The trial has not the metrics that the search compares.
        """
        begun = read_json(Sweep().begun / f"{trial.number:06}.json")
        folder = Path(begun.get("folder", self.folder / str(trial.number)))
        end = outcome(folder, begun.get("overrides", []))
        trial.set_user_attr(FOLDER, str(folder))
        if end["status"] == "pruned":
            study.tell(trial, state=TrialState.PRUNED)
        elif end["status"] == "finished":
            record = read_json(folder / "run.json")
            values = [({**record, **end["metrics"]}).get(n) for n in self.settings.objectives]
            self._tell_values(study, trial, values)
        elif end["status"] == "failed":
            trial.set_user_attr("error", end.get("error", ""))
            study.tell(trial, state=TrialState.FAIL)
            if OBJECTIVES in end.get("error", ""):
                raise ConfigError(self._not_metrics(trial, end["error"]))

    def _tell_values(
        self, study: optuna.Study, trial: optuna.Trial, values: Sequence[float | None]
    ) -> None:
        """Tell the values of a finished trial.

        Raises:
            ConfigError: The trial has no such metric, so that no other trial would have it.
        """
        for name, value in zip(self.settings.objectives, values, strict=True):
            if value is None:
                study.tell(trial, state=TrialState.FAIL)
                raise ConfigError(self._not_metrics(trial, f"its metrics.json has no {name}"))
        numbers = [float(value) for value in values if value is not None]
        if all(map(math.isfinite, numbers)):
            study.tell(trial, numbers)
        else:
            trial.set_user_attr("error", "an objective is not finite")
            study.tell(trial, state=TrialState.FAIL)

    def _not_metrics(self, trial: optuna.Trial, reason: str) -> str:
        return f"{OBJECTIVES} must be metrics of every trial; trial {trial.number}: {reason}"

    def _show_all(self, study: optuna.Study, space: SearchSpace) -> None:
        """Add the trials of earlier starts and of other processes to the table of the sweep."""
        shown = {trial["folder"] for trial in map(read_json, Sweep().begun.glob("*.json"))}
        for trial in study.get_trials(deepcopy=False):
            folder = trial.user_attrs.get(FOLDER)
            if folder is not None and folder not in shown and trial.params:
                shown.add(folder)
                Sweep().begin(trial.number, Path(folder), space.overrides(trial.params))


def results(study: optuna.Study, objectives: Sequence[str]) -> str:
    """Return yaml with the best parameters, or with the Pareto front of several objectives."""
    found = [
        {"best_params": trial.params, "best_value": trial.values[0]}
        if len(objectives) == 1
        else {"params": trial.params, "values": list(trial.values)}
        for trial in _best(study)
    ]
    content: dict[str, Any] = {"name": "optuna", "objectives": list(objectives)}
    if len(objectives) == 1:
        content |= found[0] if found else {"best_params": None, "best_value": None}
    else:
        content["solutions"] = found
    return OmegaConf.to_yaml(OmegaConf.create(content))


def _best(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    if len(study.directions) > 1:
        return study.best_trials
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return [study.best_trial] if done else []


def _wants_more(study: optuna.Study, n_trials: int) -> bool:
    """Return whether the study has a waiting trial, or fewer trials than it should have."""
    trials = study.get_trials(deepcopy=False)
    if any(trial.state is TrialState.WAITING for trial in trials):
        return True
    return sum(INTERRUPTED not in trial.user_attrs for trial in trials) < n_trials


def _consecutive(trials: Sequence[optuna.Trial]) -> Iterator[list[optuna.Trial]]:
    """Yield groups of trials with consecutive numbers, as launchers number them."""
    for _, group in groupby(enumerate(trials), key=lambda pair: pair[1].number - pair[0]):
        yield [trial for _, trial in group]
