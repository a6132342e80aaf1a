"""Pictures of a study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from candelabra.report.drawing import (
    BAND,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    Picture,
    colour_of,
    drawing,
    height_of,
    in_legend,
    legend,
    short,
)
from candelabra.study.histories import Agreement, Band
from candelabra.training.axes import pair_title


@dataclass(frozen=True)
class IntervalRow:
    """One arm of an interval plot, in points.

    Attributes:
        arm: Name of the arm.
        difference: Mean difference from the baseline.
        interval: Ends of its interval.
        by_seed: Difference of each seed.
    """

    arm: str
    difference: float
    interval: tuple[float, float]
    by_seed: Sequence[float]


def interval_plot(
    name: str, rows: Sequence[IntervalRow], *, margin: float, description: str, unit: str
) -> Picture:
    """Draw the differences of the arms from the baseline, with intervals and seeds.

    Args:
        name: Name of the picture.
        rows: Arms from top to bottom.
        margin: Smallest difference that matters, in points.
        description: Alternative text of the picture.
        unit: Label of the axis.
    """
    with drawing(name, height=0.55 * len(rows) + 1.0) as (axes, finish):
        axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, row in enumerate(rows):
            axes.plot(row.interval, (place, place), color=INK, linewidth=2, solid_capstyle="butt")
            axes.plot(row.difference, place, "D", color=INK, markersize=6)
            spread = [place + 0.26] * len(row.by_seed)
            axes.plot(row.by_seed, spread, "o", color=SERIES[0], markersize=3.5, alpha=0.8)
        axes.set_yticks(range(len(rows)), [short(row.arm) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel(unit)
        return finish(description)


def cost_plot(
    name: str, points: Mapping[str, tuple[float, float]], *, labels: tuple[str, str]
) -> Picture:
    """Draw a point for each arm.

    Args:
        name: Name of the picture.
        points: Cost and quality of each arm.
        labels: Labels of the two axes.
    """
    with drawing(name, height=height_of(points)) as (axes, finish):
        for place, (arm, (cost, quality)) in enumerate(points.items()):
            style = {"color": colour_of(place), "marker": MARKERS[place % len(MARKERS)]}
            axes.plot(cost, quality, markersize=8, linestyle="", label=in_legend(arm), **style)
        most = max(cost for cost, _ in points.values()) or 1.0
        axes.set_xlim(-0.05 * most, 1.1 * most)
        axes.margins(y=0.2)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        legend(axes)
        return finish(f"{labels[1]} against {labels[0]} of each arm.")


def curves_plot(
    name: str, curves: Mapping[str, Band], *, label: str, scale: float = 100.0
) -> Picture:
    """Draw the mean over seeds of each arm, with a band from the lowest to the highest seed.

    Args:
        name: Name of the picture.
        curves: Values of each arm.
        label: Label of the vertical axis.
        scale: Factor of the values.
    """
    with drawing(name, height=height_of(curves)) as (axes, finish):
        for place, (arm, one) in enumerate(curves.items()):
            lows, means, highs = (
                [scale * value for value in values] for values in (one.lows, one.means, one.highs)
            )
            colour, marker = colour_of(place), MARKERS[place % len(MARKERS)]
            axes.fill_between(one.steps, lows, highs, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                one.steps, means, color=colour, marker=marker, markersize=4, label=in_legend(arm)
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        legend(axes)
        return finish(f"{label} by optimizer step, for each arm.")


def agreement_plot(name: str, pairs: Mapping[str, Agreement]) -> Picture:
    """Draw the cosine of each pair of gradients by optimizer step.

    Args:
        name: Name of the picture.
        pairs: Agreement of each pair, from `histories.agreement`. The shaded area shows the cosines
            between two halves of one batch.
    """
    labels = {pair: pair_title(pair) for pair in pairs}
    with drawing(name, height=height_of(labels.values())) as (axes, finish):
        axes.axhline(0, color=MUTED, linewidth=1)
        for place, (pair, one) in enumerate(pairs.items()):
            line, colour = one.cosines, colour_of(place)
            if one.noise is not None:
                size = [*one.noise.means]
                low = [-value for value in size]
                axes.fill_between(one.noise.steps, low, size, color=MUTED, alpha=0.15, linewidth=0)
            axes.fill_between(
                line.steps, line.lows, line.highs, color=colour, alpha=0.18, linewidth=0
            )
            style = "o" if len(line.steps) == 1 else "-"
            axes.plot(line.steps, line.means, style, color=colour, label=in_legend(labels[pair]))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("cosine")
        legend(axes)
        return finish("Cosine of the gradients of two tasks by optimizer step.")
