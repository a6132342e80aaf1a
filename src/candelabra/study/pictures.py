"""Pictures of a page as SVG, with colours that follow the light or dark style of the page.

Names and labels are drawn as plain text: matplotlib neither interprets `$` in them nor leaves
markup in them unescaped.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from candelabra.errors import printable
from candelabra.study.histories import Agreement, Band

INK, MUTED, BAND = "#1b1b1e", "#6a6a70", "#e4e4e9"
SERIES = ("#0072b2", "#d55e00", "#007e5c", "#b3528a", "#8f6a00", "#5a55c9")
VARIABLES = {INK: "--ink", MUTED: "--muted", BAND: "--band"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES, 1)
}
"""Colours of the light style -> variables of the page's style sheet."""
WIDTH = 4.3
PLOT_HEIGHT = 2.5
LINE_HEIGHT = 0.19
MARKERS = "osD^vP"
SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A drawn picture.

    Attributes:
        name: Name of its file, without suffix.
        description: What it shows, for readers who do not see it.
        svg: The drawing, with the colours of the light style.
    """

    name: str
    description: str
    svg: str

    @property
    def inline(self) -> Markup:
        """Return the `svg` element for a page, whose style sheet sets the colours."""
        text = self.svg[self.svg.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
        opening, rest = text.split(">", 1)
        opening = re.sub(r' (width|height)="[^"]*"', "", opening)
        for colour, variable in VARIABLES.items():
            rest = rest.replace(f": {colour}", f": var({variable})")
        label = escape(printable(self.description))
        return Markup(f'{opening} role="img" aria-label="{label}">{rest}')


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
        description: What the picture shows.
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
        axes.set_yticks(range(len(rows)), [_short(row.arm) for row in rows])
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
    with drawing(name, height=_height(points)) as (axes, finish):
        for place, (arm, (cost, quality)) in enumerate(points.items()):
            style = {"color": _colour(place), "marker": MARKERS[place % len(MARKERS)]}
            axes.plot(cost, quality, markersize=8, linestyle="", label=_in_legend(arm), **style)
        most = max(cost for cost, _ in points.values()) or 1.0
        axes.set_xlim(-0.05 * most, 1.1 * most)
        axes.margins(y=0.2)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        _legend(axes)
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
    with drawing(name, height=_height(curves)) as (axes, finish):
        for place, (arm, one) in enumerate(curves.items()):
            lows, means, highs = (
                [scale * value for value in values] for values in (one.lows, one.means, one.highs)
            )
            colour, marker = _colour(place), MARKERS[place % len(MARKERS)]
            axes.fill_between(one.steps, lows, highs, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                one.steps, means, color=colour, marker=marker, markersize=4, label=_in_legend(arm)
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        _legend(axes)
        return finish(f"{label} by optimizer step, for each arm.")


def agreement_plot(name: str, pairs: Mapping[str, Agreement]) -> Picture:
    """Draw the cosine of the gradients of each pair of tasks by optimizer step.

    Args:
        name: Name of the picture.
        pairs: Agreement of each pair, as `histories.agreement` returns it. Cosines in the shaded
            area are as small as those of two halves of one batch.
    """
    labels = {pair: _pair_words(pair) for pair in pairs}
    with drawing(name, height=_height(labels.values())) as (axes, finish):
        axes.axhline(0, color=MUTED, linewidth=1)
        for place, (pair, one) in enumerate(pairs.items()):
            line, colour = one.cosines, _colour(place)
            if one.noise is not None:
                size = [*one.noise.means]
                low = [-value for value in size]
                axes.fill_between(one.noise.steps, low, size, color=MUTED, alpha=0.15, linewidth=0)
            axes.fill_between(
                line.steps, line.lows, line.highs, color=colour, alpha=0.18, linewidth=0
            )
            style = "o" if len(line.steps) == 1 else "-"
            axes.plot(line.steps, line.means, style, color=colour, label=_in_legend(labels[pair]))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("cosine")
        _legend(axes)
        return finish("Cosine of the gradients of two tasks by optimizer step.")


@contextmanager
def drawing(name: str, *, height: float) -> Iterator[tuple[Any, Any]]:
    """Provide axes and a function that finishes the picture from a description."""
    import matplotlib as mpl
    from matplotlib.figure import Figure  # pyplot would need a display and keep global state

    settings: Any = {**SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings), warnings.catch_warnings():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)

        def finish(description: str) -> Picture:
            stream = io.StringIO()
            # The reader's browser has the fonts, so a letter that ours lacks is no loss.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
            return Picture(name, description, stream.getvalue())

        yield axes, finish


def _legend(axes: Any) -> None:
    axes.figure.legend(loc="outside lower left", ncols=1, handlelength=1.8)


def _height(names: Iterable[str]) -> float:
    """Return the height of a picture whose legend lists names below the plot, in inches."""
    lines = sum(_in_legend(name).count("\n") + 1 for name in names)
    return PLOT_HEIGHT + LINE_HEIGHT * lines


def _in_legend(name: str) -> str:
    return _short(name, width=42)


def _pair_words(pair: str) -> str:
    first, _, other = pair.partition("_vs_")
    return f"{first} and {other}"


def _colour(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _short(name: str, width: int = 20, longest: int = 60) -> str:
    """Wrap a name into lines, and cut one that is too long for a picture."""
    text = printable(name)
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return "\n".join(textwrap.wrap(cut, width)) or "-"
