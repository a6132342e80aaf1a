"""Show cosine similarities as a table, an image, or a CSV file.

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

from candelabra.files import writing
from candelabra.tables import format_number, short_names

SHOWN = 48
"""Maximum number of characters of a text or model name in a table or image."""
NUMBERED = 15
"""Maximum number of texts for a table, and for an image whose cells show their values."""


def table(cosines_NN: np.ndarray, texts: Sequence[str], *, title: str) -> Table:
    """Create a table of the cosine similarities below the diagonal, with one row per text.

    Args:
        cosines_NN: Cosine similarities.
        texts: N texts.
        title: Title of the table.
    """
    cosines = Table(title=Text(title), title_justify="left")
    cosines.add_column("")
    cosines.add_column("text", overflow="fold")
    for column in range(len(texts) - 1):
        cosines.add_column(str(column), justify="right")
    for row, text in enumerate(texts):
        numbers = [format_number(cosine) for cosine in cosines_NN[row, :row]]
        cosines.add_row(str(row), Text(_short(text)), *numbers)
    return cosines


def write(path: Path, by_name: Mapping[str, np.ndarray], texts: Sequence[str]) -> None:
    """Write the cosine similarities of one or more models to a file.

    Args:
        path: Output file. The suffix `.csv` gives one line per pair, any other suffix an image.
        by_name: Cosine similarities (N, N) by model name.
        texts: N texts.

    Raises:
        DataError: The file cannot be written.
    """
    with writing(path) as stream:
        if path.suffix == ".csv":
            stream.write(_csv(by_name, texts).encode())
        else:
            draw(by_name, texts).savefig(stream, format=path.suffix[1:], dpi=150)


def _csv(by_name: Mapping[str, np.ndarray], texts: Sequence[str]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["text1", "text2", *by_name])
    for row in range(len(texts)):
        for column in range(row):
            cosines = [f"{cosines_NN[row, column]:.6f}" for cosines_NN in by_name.values()]
            writer.writerow([texts[row], texts[column], *cosines])
    return stream.getvalue()


def draw(by_name: Mapping[str, np.ndarray], texts: Sequence[str]) -> Figure:
    """Draw one heat map per model, side by side, with a common color scale from 0 to 1.

    Args:
        by_name: Cosine similarities (N, N) by model name.
        texts: N texts, which label the rows of the first heat map.
    """
    size = max(3.2, 0.62 * len(texts))
    figure = Figure(figsize=(4.2 + (size + 0.6) * len(by_name), size + 1.0), layout="constrained")
    panels = figure.subplots(1, len(by_name), squeeze=False)[0]
    below = np.tril(np.ones((len(texts), len(texts)), dtype=bool))
    for panel, name, cosines_NN in zip(
        panels, titles(list(by_name)), by_name.values(), strict=True
    ):
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
    """Shorten model names for titles by removing the middle of long names.

    If this makes two names equal, they are first reduced to the path parts that differ.

    Example:
        >>> titles(["runs/a/bundle", "runs/b/bundle"])
        ['runs/a/bundle', 'runs/b/bundle']
    """
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
