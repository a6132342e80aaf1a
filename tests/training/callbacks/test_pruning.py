"""Trials of a search report every validation, and end when their search gives them up."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
import pytorch_lightning as pl

from candelabra.build.pruning import pruning_callbacks, searched_metrics
from candelabra.build.search_storage import open_storage
from candelabra.errors import PrunedError
from candelabra.processes import SEARCH
from candelabra.training.callbacks.pruning import TrialPruning
from helpers.toys import Splits, fit, toy_module

SCORE = "val/score"
MEDIAN = {
    "_target_": "optuna.pruners.MedianPruner",
    "n_startup_trials": 1,
    "n_warmup_steps": 0,
    "interval_steps": 1,
}


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "search.journal")


@pytest.fixture
def study(storage: str) -> optuna.Study:
    return optuna.create_study(storage=open_storage(storage), study_name="s", direction="maximize")


def callback(
    study: optuna.Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[TrialPruning, int]:
    """What a new trial of the study trains with, and the number of the trial."""
    trial = study.ask()
    given = {
        "storage": storage,
        "study_name": "s",
        "trial_id": trial._trial_id,
        "pruner": MEDIAN,
        "monitor": SCORE,
        "objectives": [SCORE],
    }
    monkeypatch.setenv(SEARCH, json.dumps(given))
    (pruning,) = pruning_callbacks()
    assert isinstance(pruning, TrialPruning)
    return pruning, trial.number


class Scores(pl.Callback):
    """Keep the score of each validation."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(float(trainer.callback_metrics[SCORE]))


def finish_with(study: optuna.Study, values: list[float]) -> None:
    trial = study.ask()
    for step, value in enumerate(values, start=1):
        trial.report(value, step)
    study.tell(trial, values[-1])


def test_no_search_no_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SEARCH, raising=False)
    assert pruning_callbacks() == []
    assert searched_metrics() == {}


def test_a_search_for_several_objectives_ends_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"monitor": None, "objectives": [SCORE, "fit_seconds"]}
    monkeypatch.setenv(SEARCH, json.dumps(given))
    assert pruning_callbacks() == []
    assert list(searched_metrics().values()) == [SCORE, "fit_seconds"]


def test_every_validation_is_reported(
    toys: Splits, study: optuna.Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning, number = callback(study, storage, monkeypatch)
    scores = Scores()
    fit(toys, toy_module(total_steps=100), callbacks=[pruning, scores], max_epochs=3)
    assert len(scores.seen) == 3
    reported = study.trials[number].intermediate_values
    assert reported == {step: pytest.approx(score) for step, score in enumerate(scores.seen, 1)}


def test_a_trial_below_the_median_ends(
    toys: Splits, study: optuna.Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_with(study, [2.0, 2.0, 2.0])
    pruning, number = callback(study, storage, monkeypatch)
    with pytest.raises(PrunedError, match="val/score was not good enough at validation 1"):
        fit(toys, toy_module(total_steps=100), callbacks=[pruning], max_epochs=3)
    assert list(study.trials[number].intermediate_values) == [1]


def test_a_trial_after_its_last_step_is_complete(
    toys: Splits, study: optuna.Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_with(study, [2.0])
    pruning, number = callback(study, storage, monkeypatch)
    fit(toys, toy_module(total_steps=1), callbacks=[pruning], max_epochs=1)
    assert list(study.trials[number].intermediate_values) == [1]


def test_a_resumed_trial_reports_a_validation_once(
    study: optuna.Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning, number = callback(study, storage, monkeypatch)
    pruning.num_validations = 1
    pruning._report(0.5)
    again = TrialPruning(pruning.trial, monitor=SCORE)
    again.load_state_dict(pruning.state_dict())
    again._report(0.25)
    assert study.trials[number].intermediate_values == {1: 0.5}
