"""Page of a sweep: its trials, the effect of each option, and all options at once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from candelabra.report.effects import Effect, effects_of
from candelabra.report.formats import EMPTY, clipped, number
from candelabra.report.identity import identity_section
from candelabra.report.sweep_pictures import effect_plot, parallel_plot
from candelabra.report.sweep_trials import (
    DEFAULT,
    Trial,
    read_trials,
    score_columns,
    swept_keys,
)
from candelabra.report.view import Cells, Figure, Page, Section, Table

MOST_OPEN = 25
"""Number of rows above which a table is folded."""
MOST_OPTIONS = 10
"""Number of options that are drawn, those with the largest effects."""
LUCK = (
    "The best of several trials is partly the luckiest: expect lower scores on other rows and "
    "seeds. candelabra study from=FOLDER arms=KEY compares trials of several seeds."
)
EFFECTS = (
    "Mean and spread (standard deviation) of the score over all finished trials with this value. "
    "If the trials are not a full grid, a value may only look good because its trials had good "
    "values of other options. Explained: fraction of the variance of the scores that the values "
    "explain; unknown if no value has two trials."
)


def sweep_page(folder: Path) -> Page:
    """Collect the content of a sweep's page.

    Args:
        folder: Folder of the sweep.

    Raises:
        DataError: There is no trial, or a file is damaged.
    """
    columns = score_columns(folder)
    metric, trials = columns[0], read_trials(folder)
    keys = swept_keys(trials)
    scored = sorted(
        (trial for trial in trials if metric in trial.metrics),
        key=lambda trial: -trial.metrics[metric],
    )
    others = [trial for trial in trials if metric not in trial.metrics]
    effects = effects_of(scored, keys, metric)
    sections = [Section("Trials", tables=_tables(scored, others, keys, columns))]
    if effects:
        sections.append(_effects_section(effects, metric))
        sections.append(_parallel_section(scored, effects[:MOST_OPTIONS], metric))
    if scored:
        best = identity_section(scored[0].record)
        sections.append(replace(best, title=f"To repeat the best trial ({scored[0].name})"))
    warnings = [f"{len(others)} of {len(trials)} trials have no {metric} and are not compared."]
    return Page(
        "sweep",
        f"{folder.name}: {len(trials)} {'trial' if len(trials) == 1 else 'trials'}",
        _answer(scored, keys, metric),
        LUCK if len(scored) > 1 else "",
        warnings if others else [],
        sections,
    )


def _answer(scored: Sequence[Trial], keys: Sequence[str], metric: str) -> str:
    if not scored:
        return "No trial has finished."
    best = scored[0]
    return f"Highest {metric}: {number(best.metrics[metric])}, by {_options(best, keys)}."


def _options(trial: Trial, keys: Sequence[str]) -> str:
    words = [f"{key}={trial.options.get(key, DEFAULT)}" for key in keys]
    return clipped(" ".join(words)) or f"trial {trial.name}"


def _tables(
    scored: Sequence[Trial], others: Sequence[Trial], keys: Sequence[str], columns: Sequence[str]
) -> list[Table]:
    rows = [_cells(trial, keys, columns) for trial in scored]
    words = ("options", "trial")
    title = f"Finished, the highest {columns[0]} first"
    tables = []
    if len(rows) > MOST_OPEN:
        tables.append(Table("The ten best", rows[:10], words, ("options",)))
    if rows:
        tables.append(Table(title, rows, words, ("options",), folded=len(rows) > MOST_OPEN))
    if others:
        lost = [
            {
                "trial": clipped(trial.name),
                "options": _options(trial, keys),
                "status": clipped(trial.status),
                "error": clipped(trial.error) or EMPTY,
            }
            for trial in others
        ]
        tables.append(
            Table(
                "Not finished", lost, ("trial", "options", "status", "error"), ("options", "error")
            )
        )
    return tables


def _cells(trial: Trial, keys: Sequence[str], columns: Sequence[str]) -> Cells:
    scores = {clipped(column): number(trial.metrics.get(column)) for column in columns}
    return {"trial": clipped(trial.name), "options": _options(trial, keys), **scores}


def _effects_section(effects: Sequence[Effect], metric: str) -> Section:
    figures = [
        Figure(
            clipped(effect.key),
            effect_plot(f"effect-{place}", effect, metric=metric),
            "Dots: trials. Diamond: mean of a value.",
        )
        for place, effect in enumerate(effects[:MOST_OPTIONS], 1)
    ]
    return Section(
        "Effect of each option", EFFECTS, figures=figures, tables=_effect_tables(effects)
    )


def _effect_tables(effects: Sequence[Effect]) -> list[Table]:
    options = [
        {
            "option": clipped(effect.key),
            "best value": clipped(effect.best),
            "its mean": number(effect.means[effect.best]),
            "best minus worst": number(effect.range),
            "explained": EMPTY if effect.explained is None else f"{effect.explained:.0%}",
        }
        for effect in effects
    ]
    values = [
        {
            "option": clipped(effect.key),
            "value": clipped(value),
            "trials": str(len(scores)),
            "mean": number(effect.means[value]),
            "spread": number(statistics.stdev(scores)) if len(scores) > 1 else EMPTY,
            "best": number(max(scores)),
        }
        for effect in effects
        for value, scores in effect.scores.items()
    ]
    return [
        Table("Options, the largest effect first", options, ("option", "best value")),
        Table("Each value", values, ("option", "value"), folded=len(values) > MOST_OPEN),
    ]


def _parallel_section(scored: Sequence[Trial], effects: Sequence[Effect], metric: str) -> Section:
    values = {
        effect.key: [trial.options.get(effect.key, DEFAULT) for trial in scored]
        for effect in effects
    }
    picture = parallel_plot(
        "parallel", values, [trial.metrics[metric] for trial in scored], metric=metric
    )
    caption = "Each line is a trial. Coloured: the best quarter."
    return Section(
        "All options at once", figures=[Figure("Parallel coordinates", picture, caption)]
    )
