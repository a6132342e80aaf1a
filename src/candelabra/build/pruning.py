"""Connect a trial of a search with the search."""

from __future__ import annotations

import json
import os
from typing import Any

import pytorch_lightning as pl

from candelabra.build.instantiate import make
from candelabra.config.search_rules import OBJECTIVES
from candelabra.processes import SEARCH, rank
from candelabra.training.callbacks.pruning import TrialPruning


def searched_metrics() -> dict[str, str]:
    """Return the metrics that the search reads from this trial, by their keys; none without one."""
    objectives = enumerate((_search() or {"objectives": []})["objectives"])
    return {f"{OBJECTIVES}[{place}]": name for place, name in objectives}


def pruning_callbacks() -> list[pl.Callback]:
    """Return the callback that reports to the search; none if no search may end this run early."""
    search = _search()
    if search is None or search["monitor"] is None:
        return []
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


def _search() -> dict[str, Any] | None:
    """Return what a sweep passes to its trial by the environment variable `SEARCH`."""
    given = os.environ.get(SEARCH)
    return None if given is None else json.loads(given)
