"""Plot of the agreement of the tasks' gradients, by part of the model and optimizer step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candelabra.files import replacing

LOWEST_FIRST = ("embeddings", "layer", "pooling", "other", "all")
HOW_TO_READ = (
    "Blue: both tasks move this part of the model the same way.  "
    "Red: each undoes some of the other's step (a conflict).\n"
    "Pale: neither.  Grey: no gradient there.  The largest cosine sets the range of colours.  "
    "Right: the share of compared steps with a conflict."
)


def draw(looks: Mapping[int, Mapping[str, float]], path: Path) -> None:
    """Write a PNG file with one heat map for each pair of tasks.

    Args:
        looks: Optimizer step -> {`<task>_vs_<task>/<part>`: cosine}.
        path: PNG file, replaced atomically.

    Raises:
        OSError: If the file cannot be written.
    """
    from matplotlib.figure import Figure  # pyplot would need a display and keep global state

    pairs = list(dict.fromkeys(key.partition("/")[0] for look in looks.values() for key in look))
    parts = {pair: parts_of(looks, pair) for pair in pairs}
    heights = [0.3 * len(found) + 1.3 for found in parts.values()]
    figure = Figure(figsize=(10, sum(heights) + 1.3), layout="constrained")
    limit = max(0.1, *(abs(cosine) for look in looks.values() for cosine in look.values()))
    panels = figure.subplots(len(pairs), 1, squeeze=False, height_ratios=heights)[:, 0]
    for pair, panel in zip(pairs, panels, strict=True):
        image = _panel(panel, looks, pair, parts[pair], limit)
    figure.colorbar(image, ax=list(panels), label="cosine of the two gradients", shrink=0.9)
    figure.suptitle("Do the tasks pull the model the same way?", fontsize=14)
    figure.supxlabel(HOW_TO_READ, fontsize=9)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=130)


def parts_of(looks: Mapping[int, Mapping[str, float]], pair: str) -> list[str]:
    """Return the parts of the model in which a pair was compared, lowest first, `all` last."""
    keys = {key for look in looks.values() for key in look if key.startswith(f"{pair}/")}

    def place(part: str) -> tuple[int, int]:
        kind, _, number = part.partition("_")
        return LOWEST_FIRST.index(kind), int(number or 0)

    return sorted((key.partition("/")[2] for key in keys), key=place)


def _panel(
    panel: Any,
    looks: Mapping[int, Mapping[str, float]],
    pair: str,
    parts: Sequence[str],
    limit: float,
) -> Any:
    """Draw the heat map of one pair, with parts as rows and compared steps as columns."""
    rows = [[look.get(f"{pair}/{part}", math.nan) for look in looks.values()] for part in parts]
    panel.set_facecolor("0.8")
    image = panel.imshow(
        rows,
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
    )
    panel.set_title(re.sub("_vs_", " and ", pair, count=1), fontsize=11)
    panel.set_ylabel("part of the model")
    panel.set_yticks(range(len(parts)), [_plainly(part) for part in parts])
    if "all" in parts:
        panel.axhline(parts.index("all") - 0.5, color="black", linewidth=1.5)
    panel.set_xlabel("optimizer step")
    every = max(1, math.ceil(len(looks) / 12))
    panel.set_xticks(range(0, len(looks), every), [str(step) for step in list(looks)[::every]])
    right = panel.secondary_yaxis("right")
    cosines = [[cosine for cosine in row if not math.isnan(cosine)] for row in rows]
    shares = [sum(cosine < 0 for cosine in row) / len(row) for row in cosines]
    right.set_yticks(range(len(parts)), [f"{share:.0%}" for share in shares])
    right.set_ylabel("share of conflicts")
    return image


def _plainly(part: str) -> str:
    return "everything shared" if part == "all" else part.replace("_", " ")
