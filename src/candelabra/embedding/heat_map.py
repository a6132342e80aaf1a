"""Cosines of texts as a table, a picture, or a csv file.

Shapes: N texts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from candelabra.comparison import short_names
from candelabra.output import writing

SHOWN = 48
"""Characters of a text, or of a model's name, in a table or a picture."""
NUMBERED = 15
"""Up to this many texts, the picture's cells hold their numbers."""


def table(cosines_NN: np.ndarray, texts: Sequence[str], *, title: str) -> Table:
    """The lower triangle, a row for each text but the first."""
    found = Table(title=Text(title), title_justify="left")
    found.add_column("")
    found.add_column("text", overflow="fold")
    for column in range(len(texts) - 1):
        found.add_column(str(column), justify="right")
    for row, text in enumerate(texts):
        numbers = [f"{cosine:.4f}" for cosine in cosines_NN[row, :row]]
        found.add_row(str(row), Text(_short(text)), *numbers)
    return found


def write(path: Path, found: Mapping[str, np.ndarray], texts: Sequence[str]) -> None:
    """Writes the cosines of one or several models; the suffix says the format.

    Args:
        path: `.csv` gets a line for each pair, any other suffix a picture.
        found: The cosines (N, N) of each model, by its name.
        texts: N texts.

    Raises:
        DataError: The file cannot be written.
    """
    with writing(path) as stream:
        if path.suffix == ".csv":
            stream.write(_csv(found, texts).encode())
        else:
            draw(found, texts).savefig(stream, format=path.suffix[1:], dpi=150)


def _csv(found: Mapping[str, np.ndarray], texts: Sequence[str]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["text1", "text2", *found])
    for row in range(len(texts)):
        for column in range(row):
            cosines = [f"{cosines_NN[row, column]:.6f}" for cosines_NN in found.values()]
            writer.writerow([texts[row], texts[column], *cosines])
    return stream.getvalue()


def draw(found: Mapping[str, np.ndarray], texts: Sequence[str]) -> Figure:
    """A panel for each model, side by side on one scale from 0 to 1; the texts stand once."""
    size = max(3.2, 0.62 * len(texts))
    figure = Figure(figsize=(4.2 + (size + 0.6) * len(found), size + 1.0), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    below = np.tril(np.ones((len(texts), len(texts)), dtype=bool))
    for panel, name, cosines_NN in zip(panels, titles(list(found)), found.values(), strict=True):
        image = panel.imshow(np.where(below, cosines_NN, np.nan), cmap="Blues", vmin=0, vmax=1)
        panel.set_title(name, fontsize=10, parse_math=False)
        panel.set_xticks(range(len(texts)))
        panel.set_yticks(range(len(texts)), labels=[str(place) for place in range(len(texts))])
        panel.spines[:].set_visible(False)
        if len(texts) <= NUMBERED:
            for row, column in np.argwhere(below):
                cosine = cosines_NN[row, column]
                color = "white" if cosine > 0.6 else "black"
                panel.text(
                    column, row, f"{cosine:.2f}", ha="center", va="center", color=color, fontsize=9
                )
    labels = [f"{_short(text)}  {place}" for place, text in enumerate(texts)]
    panels[0].set_yticks(range(len(texts)), labels=labels, parse_math=False)
    figure.colorbar(image, ax=list(panels), label="cosine", shrink=0.8)
    return figure


def titles(names: Sequence[str]) -> list[str]:
    """Models' names to stand above tables and panels: of long ones, the middle is left out."""
    cut = [_without_middle(name) for name in names]
    if len(set(cut)) == len(cut):
        return cut
    return [_without_middle(name) for name in short_names(names)]


def _without_middle(name: str) -> str:
    if len(name) <= SHOWN:
        return name
    end = SHOWN // 2
    return f"{name[: SHOWN - end - 1]}\N{HORIZONTAL ELLIPSIS}{name[-end:]}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"
