"""Plot of the agreement of the tasks' gradients, by part of the model and optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candelabra.files import replacing
from candelabra.training.axes import pair_title
from candelabra.training.gradient_noise import noise_of

LOWEST_FIRST = ("embeddings", "layer", "pooling", "other", "all")
HOW_TO_READ = (
    "Blue: both gradients move this part of the model the same way.  Red: each undoes some of the "
    "other's step.  White: neither.  Grey: no gradient.\n"
    "Noise: 95% of the cosines between two halves of one task's batch are smaller.  "
    "Cross: a conflict, below minus the noise.  Right: the share of conflicts."
)
Steps = Mapping[int, Mapping[str, float]]
"""Optimizer step -> {name and part of the model: cosine}."""


def draw(looks: Steps, halves: Steps, path: Path) -> None:
    """Write a PNG file with one heat map for each pair of tasks, and the noise next to it.

    Args:
        looks: Optimizer step -> {`<task>_vs_<task>/<part>`: cosine}.
        halves: Optimizer step -> {`<task>/<part>`: cosine of two halves of the task's batch}.
        path: PNG file, replaced atomically.

    Raises:
        OSError: If the file cannot be written.
    """
    from matplotlib.figure import Figure  # pyplot would need a display and keep global state

    pairs = list(dict.fromkeys(key.partition("/")[0] for look in looks.values() for key in look))
    parts = {pair: parts_of(looks, pair) for pair in pairs}
    heights = [0.3 * len(names) + 1.3 for names in parts.values()]
    figure = Figure(figsize=(11, sum(heights) + 1.3), layout="constrained")
    panels = figure.subplots(
        len(pairs), 2, squeeze=False, height_ratios=heights, width_ratios=[14, 1]
    )
    for pair, (left, right) in zip(pairs, panels, strict=True):
        noise = [noise_of(halves, pair.split("_vs_"), part) for part in parts[pair]]
        rows = [
            [look.get(f"{pair}/{part}", math.nan) for look in looks.values()]
            for part in parts[pair]
        ]
        image = _cosines(left, rows, noise, parts[pair], list(looks))
        left.set_title(pair_title(pair), fontsize=11)
        _noise(right, rows, noise)
    figure.colorbar(image, ax=panels, label="cosine of the two gradients", shrink=0.9)
    figure.suptitle("Do the tasks pull the model the same way?", fontsize=14)
    figure.supxlabel(HOW_TO_READ, fontsize=9)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=130)


def conflict_shares(looks: Steps, halves: Steps) -> dict[str, float]:
    """Return, for each pair and part, the share of comparisons with a conflict.

    Args:
        looks: As in `draw`.
        halves: As in `draw`.
    """
    cosines: dict[str, list[float]] = {}
    for look in looks.values():
        for key, cosine in look.items():
            cosines.setdefault(key, []).append(cosine)
    shares = {}
    for key, row in cosines.items():
        pair, _, part = key.partition("/")
        shares[key] = _share(row, noise_of(halves, pair.split("_vs_"), part))
    return shares


def parts_of(looks: Steps, pair: str) -> list[str]:
    """Return the parts of the model in which a pair was compared, lowest first, `all` last."""
    keys = {key for look in looks.values() for key in look if key.startswith(f"{pair}/")}

    def place(part: str) -> tuple[int, int]:
        """Return a key that sorts the parts of the model from the input to the output."""
        kind, _, number = part.partition("_")
        return LOWEST_FIRST.index(kind), int(number or 0)

    return sorted((key.partition("/")[2] for key in keys), key=place)


def _share(cosines: Sequence[float], noise: float) -> float:
    """Return the share of cosines below minus the noise; NaN does not count."""
    known = [cosine for cosine in cosines if not math.isnan(cosine)]
    return sum(cosine < -noise for cosine in known) / len(known)


def _cosines(
    panel: Any,
    rows: Sequence[Sequence[float]],
    noise: Sequence[float],
    parts: Sequence[str],
    steps: Sequence[int],
) -> Any:
    """Draw the heat map of one pair, with parts as rows and compared steps as columns."""
    panel.set_facecolor("0.8")
    image = _heat_map(panel, rows)
    crosses = [
        (x, y)
        for y, row in enumerate(rows)
        for x, cosine in enumerate(row)
        if cosine < -noise[y]  # False for NaN
    ]
    if crosses:
        size = min(20.0, 2000 / len(steps))
        panel.scatter(*zip(*crosses, strict=True), marker="x", color="black", s=size, linewidths=1)
    panel.set_ylabel("part of the model")
    panel.set_yticks(range(len(parts)), [_label(part) for part in parts])
    if "all" in parts:
        panel.axhline(parts.index("all") - 0.5, color="black", linewidth=1.5)
    panel.set_xlabel("optimizer step")
    every = max(1, math.ceil(len(steps) / 12))
    panel.set_xticks(range(0, len(steps), every), [str(step) for step in steps[::every]])
    return image


def _noise(panel: Any, rows: Sequence[Sequence[float]], noise: Sequence[float]) -> None:
    """Draw the noise of each part in the same colours, and the share of conflicts."""
    _heat_map(panel, [[value] for value in noise])
    panel.set_title("noise", fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])
    for y, value in enumerate(noise):
        color = "white" if value > 0.6 else "black"
        panel.text(0, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    right = panel.secondary_yaxis("right")
    shares = [_share(row, value) for row, value in zip(rows, noise, strict=True)]
    right.set_yticks(range(len(shares)), [f"{share:.0%}" for share in shares])
    right.set_ylabel("share of conflicts")


def _heat_map(panel: Any, rows: Sequence[Sequence[float]]) -> Any:
    """Draw cosines in colours whose range is the same in every picture."""
    return panel.imshow(
        rows,
        cmap="RdBu",
        vmin=-1.0,
        vmax=1.0,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
    )


def _label(part: str) -> str:
    """Return the name of a part as shown to a person."""
    return "everything shared" if part == "all" else part.replace("_", " ")
