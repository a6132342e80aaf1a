"""Command `candelabra study`: compare ways of training over several seeds."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.commands import train
from candelabra.commands.arguments import compose
from candelabra.commands.study_tracking import track_study
from candelabra.commands.study_words import Words, sort_words
from candelabra.config.options import options
from candelabra.config.ranges import check_ranges
from candelabra.errors import ConfigError
from candelabra.files import check_place

if TYPE_CHECKING:
    from candelabra.study.arms import StudyRun
    from candelabra.study.plan import Plan
    from candelabra.study.terms import Terms
    from candelabra.study.tuning import Trial
    from candelabra.study.view import View

FOR_SWEEPS = ("logger", "paths.output_dir=", "+logger", "++logger", "hydra.searchpath=")
"""Beginnings of the overrides that `from=` allows. They configure the W&B run of the study."""

HELP = f"""candelabra study study=NAME [overrides]: the answer to a question, over several seeds.

  study=sharing     share one encoder, or train one model for each task? (default)
  study={", ".join(name for name in options("study") if name not in ("sharing", "sweep"))}
                    other questions; each is one yaml with arms, a baseline and margins
  seeds=5           seeds of every arm; a larger number continues the same study
  plan=true         prints runs, time, disk and the detectable difference, and trains nothing
  output=FOLDER     folder of the study; default: outputs/studies/NAME/TASKS
  study.rows=500    training rows to keep of the smallest task
  study.tune=3      learning rates to try for each arm on validation before the study
  study.margins.TASK=0.01
                    the smallest difference that matters
  from=SWEEP_FOLDER arms=KEY
                    reads a finished sweep as a study whose arms are the values of KEY
  hydra.launcher.n_jobs=1
                    one run at a time, not as many as cores and memory allow
  logger=wandb      sends the runs and the study to W&B, which needs an account; logger=csv: neither
  --config-dir FOLDER
                    a folder of your own yamls, in addition to candelabra's

All other overrides are those of candelabra train and go to every run, such as
tasks=imdb_mit_movie data_dir=FOLDER trainer.max_epochs=1. The same command continues a study
that was interrupted. The folder receives report.html, report.md and study.json.
"""


def main(overrides: list[str]) -> int:
    """Plan a study, train its runs, write its page and return the exit status."""
    words = sort_words(overrides)
    cfg = compose("study", [f"study={words.study}", *words.own, *words.flags])
    check_ranges(cfg)
    command = shlex.join(["candelabra", "study", *overrides])
    if "from" in words.verbatim:
        return study_of_sweep(cfg, words, command)
    if "arms" in words.verbatim:
        raise ConfigError("arms= belongs to from=SWEEP_FOLDER; study.arms.NAME sets an arm")
    return run_study(cfg, words, command)


def run_study(cfg: DictConfig, words: Words, command: str) -> int:
    """Train the runs of a study that are not finished yet, and write its page.

    Args:
        cfg: Settings of the study.
        words: Words of the command line.
        command: The command, for the page.

    Returns:
        The exit status.
    """
    from candelabra.study.arms import read_arms
    from candelabra.study.collect import load_arms, task_margins
    from candelabra.study.plan import keep_plan, make_plan
    from candelabra.study.speed import arm_speeds
    from candelabra.study.terms import read_terms
    from candelabra.study.tuning import best_rates, trials, tuning_seconds

    arms = read_arms(cfg.study.arms, cfg.study.baseline)
    terms = read_terms(words.common, rows=cfg.study.rows)
    margins = task_margins(terms.main_metrics, cfg.study.margins, cfg.study.metric_margins)
    place = folder_of(cfg, words, terms)
    runs_dir = Path(cfg.output_dir) / "runs"
    seeds = range(cfg.seeds)
    tried = trials(arms, terms, cfg.study.tune, seed=seeds[0])
    plan = make_plan(arms, terms, seeds)
    if cfg.plan:
        return show_plan(plan, tried, margins, place, runs_dir=runs_dir, flags=words.flags)
    # Before any training: a folder of another study is refused.
    keep_plan(place, plan, tune=cfg.study.tune)
    status = 0
    if tried:
        status = train_runs([one.run for one in tried], place, runs_dir, words)
        plan = make_plan(arms, terms, seeds, rates=best_rates(tried, runs_dir))
    status = max(status, train_runs(plan.runs, place, runs_dir, words))
    seconds = {arm.name: tuning_seconds(tried, runs_dir, arm.name) for arm in arms}
    loaded = load_arms(plan, runs_dir, tuning_seconds=seconds)
    speeds = arm_speeds(loaded, runs_dir, terms.texts, place)
    view = write_page(
        cfg,
        place,
        name=words.study,
        question=cfg.study.question,
        arms=[replace(arm, ms_per_text=speeds.get(arm.name)) for arm in loaded],
        runs_dir=runs_dir,
        baseline=cfg.study.baseline,
        margins=margins,
        equal=terms.equal(),
        command=command,
    )
    track_study(view, place, words)
    return status


def folder_of(cfg: DictConfig, words: Words, terms: Terms) -> Path:
    """Return the folder of the study.

    Raises:
        ConfigError: The folder cannot be written.
    """
    default = Path(cfg.output_dir) / words.study / "-".join(terms.main_metrics)
    place = Path(words.verbatim.get("output") or default)
    check_place(place)
    return place


def train_runs(runs: Sequence[StudyRun], place: Path, runs_dir: Path, words: Words) -> int:
    """Train the runs that are not finished, each in a process of its own.

    Args:
        runs: Runs of the study.
        place: Folder of the study.
        runs_dir: Folder of the run folders.
        words: Words of the command line.

    Returns:
        The exit status.
    """
    from candelabra.study.launching import launch_arguments, unfinished

    todo = unfinished(runs, runs_dir)
    if not todo:
        return 0
    print(f"{len(todo)} of {len({run.folder for run in runs})} runs to train", file=sys.stderr)
    arguments = launch_arguments(todo, runs_dir, place / "runs.json", group=words.study)
    return train.main([*arguments, *words.launcher, *words.flags])


def show_plan(
    plan: Plan,
    tried: Sequence[Trial],
    margins: Mapping[str, float],
    place: Path,
    *,
    runs_dir: Path,
    flags: Sequence[str],
) -> int:
    """Time a few steps of each arm, print the plan, and return 0."""
    from candelabra import tables
    from candelabra.study.expectation import detectable_table
    from candelabra.study.pilot import plan_table

    tables.show(
        plan_table(plan, tried, runs_dir, flags),
        detectable_table(plan, margins, place / "study.json"),
    )
    return 0


def study_of_sweep(cfg: DictConfig, words: Words, command: str) -> int:
    """Write the page of a sweep whose trials are the runs of a study.

    Args:
        cfg: Settings of the study.
        words: Words of the command line.
        command: The command, for the page.

    Returns:
        The exit status.

    Raises:
        ConfigError: An override belongs to training, or the folder is no such sweep.
    """
    from candelabra.study.collect import task_margins
    from candelabra.study.sweeps import load_sweep

    others = [word for word in words.common if not word.startswith(FOR_SWEEPS)]
    if others or words.launcher:
        wrong = [*others, *words.launcher][0]
        raise ConfigError(f"{wrong}: from= reads a finished sweep and trains nothing")
    if "arms" not in words.verbatim:
        raise ConfigError("from= needs arms=KEY, the override whose values are compared")
    key, folder = words.verbatim["arms"], Path(words.verbatim["from"])
    arms = load_sweep(folder, key)
    names = [arm.name for arm in arms]
    baseline = names[0] if cfg.study.baseline is None else str(cfg.study.baseline)
    if baseline not in names:
        raise ConfigError(
            f"study.baseline must be one of the values {', '.join(names)}, got {baseline!r}"
        )
    metrics: dict[str, str] = {}
    for run in (run for arm in arms for runs in arm.runs.values() for run in runs):
        metrics = {**run.main_metrics, **metrics}
    place = Path(words.verbatim.get("output") or folder / "study")
    check_place(place)
    view = write_page(
        cfg,
        place,
        name=words.study,
        question=cfg.study.question or f"Which {key}?",
        arms=arms,
        runs_dir=folder,
        baseline=baseline,
        margins=task_margins(metrics, cfg.study.margins, cfg.study.metric_margins),
        equal=(),
        command=command,
    )
    track_study(view, place, words)
    return 0


def write_page(cfg: DictConfig, place: Path, *, runs_dir: Path, **facts: Any) -> View:
    """Compare the arms, write the files of the study, print the answer, and return the page.

    Args:
        cfg: Settings of the study.
        place: Folder of the study.
        runs_dir: Folder that the names of the runs are relative to.
        facts: Attributes of the study.
    """
    from candelabra import tables
    from candelabra.build.study import build_decision
    from candelabra.config.plain_form import plain
    from candelabra.study.again import keep_inputs
    from candelabra.study.collect import count_looks
    from candelabra.study.inputs import Study
    from candelabra.study.page import write_study
    from candelabra.study.result import compare_arms

    study = Study(
        decide=build_decision(cfg.study.answer),
        test_reads=count_looks(place, facts["arms"]),
        **facts,
    )
    result = compare_arms(study)
    keep_inputs(place, study, runs_dir=runs_dir, answer=plain(cfg)["study"]["answer"])
    view = write_study(result, place)
    lines = [
        f"{task}, {arm}: {contrast.words}"
        for task, contrasts in result.contrasts.items()
        for arm, contrast in contrasts.items()
    ]
    tables.show(result.answer.sentence, *lines, f"page: {place / 'report.html'}")
    return view
