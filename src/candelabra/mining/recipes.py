"""Settings for choosing negatives, and presets of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from candelabra.checks import at_least, number, one_of
from candelabra.errors import ConfigError

SAMPLINGS = ("top", "random")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules for choosing the negatives of an anchor.

    The candidates are the positives of other anchors, ordered by their cosine with the anchor. For
    an anchor with several positives, the margins are relative to the least similar one.

    Attributes:
        num_negatives: Maximum number of negatives per pair. Each gives a triplet.
        sampling: `top` for the most similar candidates, `random` for a random choice.
        range_min: Number of most similar candidates to skip.
        range_max: Rank of the last candidate to consider. With `None`, it is ten times
            `num_negatives`, plus the largest number of positives of an anchor.
        absolute_margin: Minimum difference between the positive's and a negative's cosine.
        relative_margin: The same, as a fraction of the positive's cosine.
        max_score: Maximum cosine of a negative.
        min_score: Minimum cosine of a negative.
    """

    num_negatives: int = 1
    sampling: str = "top"
    range_min: int = 0
    range_max: int | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None


KINDS: dict[str, dict[str, Any]] = {
    "easy": {},  # Random texts, chosen without computing similarities.
    "semi_hard": {
        "sampling": "random",
        "range_min": 10,
        "range_max": 100,
        "relative_margin": 0.05,
    },
    # This margin removes false negatives best according to NV-Retriever (Moreira et al. 2024).
    "hard": {"sampling": "top", "range_max": 100, "relative_margin": 0.05},
}
"""Default settings of each kind of negatives."""


def recipe_of(kind: str, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a kind, with individual settings replaced.

    Args:
        kind: One of `KINDS`.
        settings: Value of each field of `Recipe`, or `None` for the default of the kind.

    Raises:
        ConfigError: A value is not allowed, or the kind does not use this setting.
    """
    one_of("negatives", kind, KINDS)
    names = [item.name for item in fields(Recipe)]
    given = {name: settings[name] for name in names if settings[name] is not None}
    for name in given.keys() - {"num_negatives"}:
        if kind == "easy":
            raise ConfigError(f"{name} chooses by similarity, which negatives=easy does not use")
    recipe = Recipe(**{**KINDS[kind], **given})
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    at_least("num_negatives", recipe.num_negatives, 1)
    at_least("range_min", recipe.range_min, 0)
    one_of("sampling", recipe.sampling, SAMPLINGS)
    if recipe.range_max is not None:
        at_least("range_max", recipe.range_max, 1)
        least = recipe.range_min + recipe.num_negatives
        if recipe.range_max < least:
            raise ConfigError(
                f"range_max must be at least range_min + num_negatives, which is {least}, got "
                f"{recipe.range_max}"
            )
    for name in ("absolute_margin", "relative_margin"):
        value = getattr(recipe, name)
        if value is not None:
            number(name, value, least=0)
    for name in ("max_score", "min_score"):
        value = getattr(recipe, name)
        if value is not None:
            number(name, value, least=-1, most=1)
    if recipe.min_score is not None and recipe.max_score is not None:
        number("max_score", recipe.max_score, least=recipe.min_score, most=1)
