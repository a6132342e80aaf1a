"""Pictures of a run's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from candelabra.report.calibration import Calibration
from candelabra.report.drawing import (
    BAND,
    INK,
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
from candelabra.report.formats import number

Line = tuple[Sequence[float], Sequence[float]]
"""Optimizer steps, and values at them."""
MOST_POINTS = 200
MOST_DOTS = 1500
MOST_NUMBERED = 12
"""Number of classes up to which a confusion matrix shows its counts."""
DARKEST = 0.6
"""Opacity of the fullest cell. Text stays readable on it in the light and the dark style."""


def lines_plot(name: str, lines: Mapping[str, Line], *, label: str) -> Picture:
    """Draw values by optimizer step.

    Args:
        name: Name of the picture.
        lines: Values of each series. A long series is drawn as means over neighbouring points.
        label: Label of the vertical axis.
    """
    with drawing(name, height=height_of(lines)) as (axes, finish):
        for place, (series, (steps, values)) in enumerate(lines.items()):
            dash = "-" if place < len(SERIES) else "--"
            style = f"o{dash}" if len(steps) <= 30 else dash
            axes.plot(
                *(_thinned(each) for each in (steps, values)),
                style,
                color=colour_of(place),
                markersize=3.5,
                label=in_legend(series),
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        legend(axes)
        ends = "; ".join(f"{series}: last {number(v[-1])}" for series, (_, v) in lines.items())
        return finish(f"{label} by optimizer step. {ends}.")


def _thinned(values: Sequence[float]) -> list[float]:
    if len(values) <= MOST_POINTS:
        return list(values)
    return [float(part.mean()) for part in np.array_split(np.array(values), MOST_POINTS)]


def confusion_plot(name: str, names: Sequence[str], counts_CC: np.ndarray) -> Picture:
    """Draw a confusion matrix, in which a darker cell is a larger fraction of the gold class.

    Args:
        name: Name of the picture.
        names: Names of the classes.
        counts_CC: Counts by gold and predicted class.
    """
    from matplotlib.patches import Rectangle

    parts_CC = counts_CC / np.maximum(1, counts_CC.sum(1, keepdims=True))
    with drawing(name, height=min(4.6, 2.2 + 0.28 * len(names))) as (axes, finish):
        for (gold, predicted), part in np.ndenumerate(parts_CC):
            corner = (predicted - 0.5, gold - 0.5)
            cell = Rectangle(corner, 1, 1, facecolor=SERIES[0], alpha=DARKEST * part, linewidth=0)
            axes.add_patch(cell)
            if len(names) <= MOST_NUMBERED:
                count = f"{counts_CC[gold, predicted]:,}"
                axes.text(predicted, gold, count, ha="center", va="center", color=INK, fontsize=9)
        labels = [short(each, width=14, longest=24) for each in names]
        size = 9 if len(names) <= MOST_NUMBERED else 7
        upright = 0 if len(names) <= 3 else 90
        axes.set_xticks(range(len(names)), labels, rotation=upright, fontsize=size)
        axes.set_yticks(range(len(names)), labels, fontsize=size)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("prediction")
        axes.set_ylabel("label")
        correct = np.trace(counts_CC)
        return finish(f"Confusion matrix: {correct:,} of {counts_CC.sum():,} rows on the diagonal.")


def bars_plot(name: str, values: Mapping[str, float], *, label: str) -> Picture:
    """Draw a horizontal bar for each name, the first one at the top.

    Args:
        name: Name of the picture.
        values: Value of each name, from 0 to 1.
        label: Label of the horizontal axis.
    """
    with drawing(name, height=0.8 + 0.25 * len(values)) as (axes, finish):
        axes.barh(range(len(values)), list(values.values()), height=0.6, color=SERIES[0], alpha=0.8)
        for place, value in enumerate(values.values()):
            axes.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=9)
        axes.set_yticks(range(len(values)), [short(each, 24, 24) for each in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, 1.1)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(label)
        return finish("; ".join(f"{each}: {label} {value:.2f}" for each, value in values.items()))


def calibration_plot(name: str, found: Calibration) -> Picture:
    """Draw the accuracy of answers against their probability; larger dots are more answers."""
    with drawing(name, height=3.0) as (axes, finish):
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1)
        sizes = 12 + 300 * np.array(found.counts) / sum(found.counts)
        axes.plot(found.confidences, found.accuracies, color=SERIES[0], linewidth=1)
        axes.scatter(found.confidences, found.accuracies, s=sizes, color=SERIES[0], alpha=0.6)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("probability")
        axes.set_ylabel("fraction correct")
        return finish(f"Reliability; expected calibration error {number(found.error)}.")


def scatter_plot(
    name: str, gold: Sequence[float], predicted: Sequence[float], *, labels: tuple[str, str]
) -> Picture:
    """Draw the prediction of each row against its label; of many rows, every k-th."""
    every = max(1, -(-len(gold) // MOST_DOTS))
    with drawing(name, height=3.2) as (axes, finish):
        axes.plot(gold[::every], predicted[::every], "o", color=SERIES[0], markersize=3, alpha=0.5)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        return finish(f"{labels[1]} against {labels[0]}, {len(gold):,} rows.")


def histogram_plot(name: str, values: Mapping[str, Sequence[float]], *, label: str) -> Picture:
    """Draw a histogram of the values of each group, with the same bins for all groups.

    Args:
        name: Name of the picture.
        values: Values of each group.
        label: Label of the horizontal axis.
    """
    edges = np.histogram_bin_edges([each for group in values.values() for each in group], bins=30)
    with drawing(name, height=height_of(values)) as (axes, finish):
        if edges[0] < 0 < edges[-1]:
            axes.axvline(0, color=BAND, linewidth=2)
        for place, (group, of_group) in enumerate(values.items()):
            counts, _ = np.histogram(of_group, bins=edges)
            axes.stairs(counts, edges, color=colour_of(place), label=in_legend(group), linewidth=2)
        axes.set_xlabel(label)
        axes.set_ylabel("rows")
        legend(axes)
        return finish(f"Distribution of the {label}.")
