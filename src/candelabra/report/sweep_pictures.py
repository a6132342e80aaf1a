"""Pictures of a sweep's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from candelabra.bundle.stored import is_text_of_number
from candelabra.report.drawing import INK, MUTED, PAPER, SERIES, Picture, drawing, short
from candelabra.report.effects import Effect
from candelabra.report.formats import number

MOST_VALUES = 12
"""Maximum number of values of an option that are drawn on a line each."""
WIDE_RANGE = 50
"""Ratio of the largest to the smallest number from which an axis is logarithmic."""


def effect_plot(name: str, effect: Effect, *, metric: str) -> Picture:
    """Draw the scores of the trials by the value of an option, and the mean of each value.

    Args:
        name: Name of the picture.
        effect: Scores by value.
        metric: Name of the score.
    """
    if effect.numbers and len(effect.scores) > MOST_VALUES:
        return _numeric_plot(name, effect, metric=metric)
    shown = dict(list(effect.scores.items())[:MOST_VALUES])
    with drawing(name, height=1.0 + 0.42 * len(shown)) as (axes, finish):
        for place, (value, scores) in enumerate(shown.items()):
            axes.plot(scores, [place] * len(scores), "o", color=SERIES[0], markersize=5, alpha=0.5)
            axes.plot(effect.means[value], place, "D", color=INK, markersize=6)
        axes.set_yticks(range(len(shown)), [short(value, longest=40) for value in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.set_xlabel(metric)
        means = "; ".join(f"{value}: {number(mean)}" for value, mean in effect.means.items())
        return finish(f"Mean {metric} by {effect.key}: {means}.")


def _numeric_plot(name: str, effect: Effect, *, metric: str) -> Picture:
    points = [(float(value), score) for value, of in effect.scores.items() for score in of]
    with drawing(name, height=2.6) as (axes, finish):
        axes.plot(*zip(*points, strict=True), "o", color=SERIES[0], markersize=5, alpha=0.6)
        if _is_wide([value for value, _ in points]):
            axes.set_xscale("log")
        axes.set_xlabel(short(effect.key, 40))
        axes.set_ylabel(metric)
        return finish(f"{metric} by {effect.key} of {len(points)} trials.")


def parallel_plot(
    name: str, axes_values: Mapping[str, Sequence[str]], scores: Sequence[float], *, metric: str
) -> Picture:
    """Draw each trial as a line through its options down to its score: parallel coordinates.

    The axes are horizontal, so that a page of any width has room for all of them. The best quarter
    of the trials is coloured.

    Args:
        name: Name of the picture.
        axes_values: Value of each trial, for each option.
        scores: Score of each trial.
        metric: Name of the score.
    """
    lines = [_axis(values) for values in axes_values.values()] + [
        _axis(list(map(str, scores)), most_even=1)
    ]
    limit = sorted(scores, reverse=True)[max(0, len(scores) // 4 - 1)]
    places = range(len(lines))
    with drawing(name, height=0.6 + 0.75 * len(lines)) as (axes, finish):
        for place, (_, ticks) in zip(places, lines, strict=True):
            axes.plot((0, 1), (place, place), color=MUTED, linewidth=1, zorder=1)
            size = 8 if len(ticks) <= 5 else 7
            for where, label in ticks.items():
                align = "left" if where == 0 else "right" if where == 1 else "center"
                words = short(label, max(8, 56 // len(ticks)), 24)
                box = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 1}
                at = (where, place + 0.1, words)
                axes.text(*at, ha=align, va="top", fontsize=size, bbox=box, zorder=4)
        for trial in sorted(range(len(scores)), key=scores.__getitem__):
            is_best = scores[trial] >= limit
            axes.plot(
                [where[trial] for where, _ in lines],
                places,
                color=SERIES[0] if is_best else MUTED,
                alpha=0.85 if is_best else 0.35,
                linewidth=1.6 if is_best else 1,
                zorder=3 if is_best else 2,
            )
        axes.set_yticks(places, [short(each, 16, 40) for each in (*axes_values, metric)])
        axes.set_ylim(len(lines) - 0.4, -0.3)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return finish(f"Options and {metric} of {len(scores)} trials as lines.")


def _axis(values: Sequence[str], *, most_even: int = 6) -> tuple[list[float], dict[float, str]]:
    """Return the position of each value on an axis from 0 to 1, and the labels by position.

    More than `most_even` numbers are placed to scale. Fewer numbers, and other values, are spaced
    evenly.
    """
    distinct = list(dict.fromkeys(values))
    are_numbers = all(map(is_text_of_number, distinct))
    if are_numbers:
        distinct.sort(key=float)
    if not are_numbers or len(distinct) <= most_even:
        last = max(1, len(distinct) - 1)
        places = {value: place / last for place, value in enumerate(distinct)}
        every = -(-len(distinct) // 8)
        shown = {places[value]: value for value in distinct[::every]}
        return [places[value] for value in values], shown
    low, high = float(distinct[0]), float(distinct[-1])
    places = {value: (float(value) - low) / (high - low) for value in distinct}
    if _is_wide([float(value) for value in distinct]):
        width = math.log(high / low)
        places = {value: math.log(float(value) / low) / width for value in distinct}
    ends = {0.0: f"{low:.5g}", 1.0: f"{high:.5g}"}
    return [places[value] for value in values], ends


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= WIDE_RANGE
