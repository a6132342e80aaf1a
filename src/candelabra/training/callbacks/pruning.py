"""Callback that reports the score of a trial to its search, and ends a trial that scores badly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from candelabra.errors import PrunedError
from candelabra.training.module import MultiTaskModule

if TYPE_CHECKING:
    import optuna


class TrialPruning(pl.Callback):
    """Report the score of every validation to Optuna, which decides whether the trial goes on.

    A report is numbered by the validation, so that trials with other batch sizes compare.

    Args:
        trial: Optuna's trial; `None` in the processes that do not report.
        monitor: Name of the score.
    """

    def __init__(self, trial: optuna.Trial | None, *, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor
        self.num_validations = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations, for a resumed trial."""
        return {"num_validations": self.num_validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count of validations of an interrupted trial."""
        self.num_validations = state_dict["num_validations"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the score, and raise PrunedError in all processes to end the trial."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert isinstance(pl_module, MultiTaskModule)
        self.num_validations += 1
        prune = False
        if self.trial is not None:
            score = float(trainer.callback_metrics[self.monitor])
            prune = self._report(score) and trainer.global_step < pl_module.total_steps
        if trainer.strategy.reduce_boolean_decision(prune, all=False):
            raise PrunedError(
                f"{self.monitor} was not good enough at validation {self.num_validations}"
            )

    def _report(self, score: float) -> bool:
        """Store the score, and return whether Optuna would prune the trial."""
        assert self.trial is not None
        known = self.trial.storage.get_trial(self.trial._trial_id).intermediate_values
        # A resumed trial repeats the validation at which it was interrupted.
        if self.num_validations not in known:
            self.trial.report(score, step=self.num_validations)
        return self.trial.should_prune()
