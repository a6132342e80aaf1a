"""Plan the runs of a study. All are composed and checked before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from candelabra.errors import ConfigError
from candelabra.files import read_json, write_json
from candelabra.study.arms import Arm, StudyRun, alone_overrides, run_folder
from candelabra.study.composing import checked
from candelabra.study.terms import Terms

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """The runs of a study.

    Attributes:
        arms: Arms of the study, the baseline first.
        terms: Terms that all arms share.
        seeds: Seeds of every arm.
        runs: Runs of all arms, seed by seed. If the study is stopped early, the finished runs are a
            study with fewer seeds.
    """

    arms: Sequence[Arm]
    terms: Terms
    seeds: Sequence[int]
    runs: Sequence[StudyRun]

    def runs_of(self, arm: Arm) -> list[StudyRun]:
        """Return the runs of one arm."""
        return [run for run in self.runs if run.arm == arm.name]

    def num_distinct(self) -> int:
        """Return the number of different runs; runs of several arms may be the same."""
        return len({run.folder for run in self.runs})


def make_plan(
    arms: Sequence[Arm],
    terms: Terms,
    seeds: Sequence[int],
    *,
    rates: Mapping[tuple[str, str | None], float] | None = None,
) -> Plan:
    """Compose and check every run of a study.

    Args:
        arms: Arms of the study, the baseline first.
        terms: Terms that all arms share.
        seeds: Seeds of every arm.
        rates: Tuned learning rates by arm and task. The task is `None` for a model of all tasks.
            The other models have the learning rate of their configuration.

    Raises:
        ConfigError: A setting of an arm is wrong.
    """
    runs = []
    for arm in arms:
        for task, overrides in parts_of(arm, terms):
            rate = (rates or {}).get((arm.name, task))
            words = overrides if rate is None else (*overrides, f"optimizer.lr={rate}")
            runs += runs_with_seeds(arm, task, words, seeds)
    order = {arm.name: place for place, arm in enumerate(arms)}
    runs.sort(key=lambda run: (run.seed, order[run.arm]))
    return Plan(arms, terms, seeds, runs)


def parts_of(arm: Arm, terms: Terms) -> list[tuple[str | None, tuple[str, ...]]]:
    """Return task and overrides of each model of an arm; the task is `None` for all tasks."""
    words = (*terms.overrides, *arm.overrides)
    if not arm.one_model_per_task:
        return [(None, words)]
    return [
        (task, (*words, *alone_overrides(task, terms.tasks, exposure, terms.epochs)))
        for task, exposure in terms.exposures.items()
    ]


def runs_with_seeds(
    arm: Arm, task: str | None, overrides: Sequence[str], seeds: Sequence[int]
) -> list[StudyRun]:
    """Compose and check one configuration, and return its run for each seed.

    Args:
        arm: The arm, which messages name.
        task: The task that is trained alone; `None` for a model of all tasks.
        overrides: Overrides of `candelabra train` without the seed.
        seeds: The seeds.

    Raises:
        ConfigError: A setting is wrong.
    """
    cfg = checked(f"study.arms.{arm.name}", overrides)
    container = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(container, dict)
    config = {str(key): value for key, value in container.items()}
    return [
        StudyRun(
            arm.name,
            seed,
            task,
            (*overrides, f"seed={seed}"),
            run_folder({**config, "seed": seed}),
        )
        for seed in seeds
    ]


def keep_plan(folder: Path, plan: Plan, *, tune: int) -> None:
    """Write the plan to the folder of the study, unless it holds another study.

    Args:
        folder: Folder of the study.
        plan: The plan, before learning rates are chosen. More seeds than before continue the study.
        tune: Number of learning rates that are tried.

    Raises:
        ConfigError: The folder holds a study of other arms or other settings.
    """
    arms: dict[str, Any] = {arm.name: [] for arm in plan.arms}
    for run in plan.runs:
        if run.seed == plan.seeds[0]:
            arms[run.arm].append({"task": run.task, "overrides": list(run.overrides[:-1])})
    now = {"tasks": list(plan.terms.main_metrics), "arms": arms, "tune": tune}
    before = read_json(folder / PLAN)
    if before and {key: before.get(key, 0) for key in now} != now:
        changed = [name for name in arms if before.get("arms", {}).get(name) != arms[name]]
        differs = f" (arm {changed[0]} differs)" if changed else ""
        raise ConfigError(
            f"output={folder}: holds a study of other settings{differs}; "
            "give the changed study another folder by output=FOLDER"
        )
    write_json(folder / PLAN, {**now, "seeds": len(plan.seeds)})
