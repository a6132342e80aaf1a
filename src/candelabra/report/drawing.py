"""Pictures of a page as SVG, with colours that follow the light or dark style of the page.

Names and labels are drawn as plain text: matplotlib neither interprets `$` in them nor leaves
markup in them unescaped.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from candelabra.errors import printable

INK, MUTED, BAND, PAPER = "#1b1b1e", "#6a6a70", "#e4e4e9", "#ffffff"
SERIES = ("#0072b2", "#d55e00", "#007e5c", "#b3528a", "#8f6a00", "#5a55c9")
VARIABLES = {INK: "--ink", MUTED: "--muted", BAND: "--band", PAPER: "--paper"} | {
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
        description: Alternative text for readers who cannot see the picture.
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


@contextmanager
def drawing(name: str, *, height: float) -> Iterator[tuple[Any, Any]]:
    """Yield axes to draw on, and a function that returns the picture, given its description."""
    import matplotlib as mpl
    from matplotlib.figure import Figure  # pyplot would need a display and keep global state

    settings: Any = {**SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings), warnings.catch_warnings():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)

        def finish(description: str) -> Picture:
            """Return the drawing as SVG."""
            stream = io.StringIO()
            # The reader's browser draws the text, so letters that are missing here do no harm.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
            return Picture(name, description, stream.getvalue())

        yield axes, finish


def legend(axes: Any) -> None:
    """Draw the legend below the plot, with one name in each line."""
    axes.figure.legend(loc="outside lower left", ncols=1, handlelength=1.8)


def height_of(names: Iterable[str]) -> float:
    """Return the height of a picture whose legend lists names below the plot, in inches."""
    lines = sum(in_legend(name).count("\n") + 1 for name in names)
    return PLOT_HEIGHT + LINE_HEIGHT * lines


def in_legend(name: str) -> str:
    """Wrap a name for the legend."""
    return short(name, width=42)


def colour_of(place: int) -> str:
    """Return the colour of a series, counted from 0."""
    return SERIES[place % len(SERIES)]


def short(name: str, width: int = 20, longest: int = 60) -> str:
    """Wrap a name into lines, and cut one that is too long for a picture."""
    text = printable(name)
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return "\n".join(textwrap.wrap(cut, width)) or "-"
