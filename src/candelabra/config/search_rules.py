"""Rules of the keys of a search: `hydra/sweeper=optuna`, its sampler and its pruner."""

from __future__ import annotations

from candelabra.config.rules import (
    Rule,
    checked_elsewhere,
    choice,
    either,
    list_of,
    optional,
    settings,
    text,
    whole,
)

OBJECTIVES = "hydra.sweeper.objectives"
_DIRECTION = choice("maximize", "minimize")

SEARCH_RULES: dict[str, Rule] = {
    OBJECTIVES: list_of(text),
    "hydra.sweeper.direction": either(
        "maximize or minimize, or a list of them", _DIRECTION, list_of(_DIRECTION)
    ),
    "hydra.sweeper.n_trials": whole(1),
    "hydra.sweeper.n_jobs": optional(whole(1)),
    "hydra.sweeper.storage": optional(text),
    "hydra.sweeper.study_name": optional(text),
    "hydra.sweeper.params": optional(settings),
    "hydra.sweeper.params.**": checked_elsewhere,
    "hydra.sweeper.sampler": settings,
    "hydra.sweeper.sampler.seed": optional(whole()),
    "hydra.sweeper.sampler.**": checked_elsewhere,
    "hydra.sweeper.pruner": settings,
    "hydra.sweeper.pruner.n_startup_trials": whole(),
    "hydra.sweeper.pruner.n_warmup_steps": whole(),
    "hydra.sweeper.pruner.interval_steps": whole(1),
    "hydra.sweeper.pruner.min_resource": either("auto or a number", choice("auto"), whole(1)),
    "hydra.sweeper.pruner.max_resource": either("auto or a number", choice("auto"), whole(1)),
    "hydra.sweeper.pruner.reduction_factor": whole(2),
    "hydra.sweeper.pruner.**": checked_elsewhere,
}
"""Rules of the keys; Optuna checks what belongs to one sampler or pruner."""
