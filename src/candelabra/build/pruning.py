"""Connect a trial of a search with the storage of the search."""

from __future__ import annotations

import json
import os

import pytorch_lightning as pl

from candelabra.build.instantiate import make
from candelabra.processes import SEARCH, rank
from candelabra.training.callbacks.pruning import TrialPruning


def pruning_callbacks() -> list[pl.Callback]:
    """Return the callback that reports to the search, or no callback outside of a search.

    A sweep passes storage, study and trial by the environment variable `SEARCH`.
    """
    given = os.environ.get(SEARCH)
    if given is None:
        return []
    search = json.loads(given)
    if rank() != 0:
        return [TrialPruning(None, monitor=search["monitor"])]
    import optuna

    from candelabra.build.search_storage import open_storage

    study = optuna.load_study(
        study_name=search["study_name"],
        storage=open_storage(search["storage"]),
        # The sweep has sampled the parameters, so this sampler draws nothing.
        sampler=optuna.samplers.RandomSampler(),
        pruner=make(search["pruner"], "hydra.sweeper.pruner"),
    )
    trial = optuna.Trial(study, search["trial_id"])
    return [TrialPruning(trial, monitor=search["monitor"])]
