"""How negatives are chosen: the kinds, and what each means in settings. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from candelabra.errors import ConfigError
from candelabra.rules import at_least, number, one_of

SAMPLINGS = ("top", "random")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which texts may become the negatives of an anchor, and which of them do.

    Candidates are the other anchors' positives, ordered by their cosine with the anchor. An
    anchor with several positives is held to the least similar of them.

    Attributes:
        num_negatives: Most negatives of a pair; each makes a triplet.
        sampling: `top` takes the most similar candidates, `random` draws among them.
        range_min: Leaves out so many of the most similar candidates.
        range_max: Looks at no more than so many; None: ten for each negative and, with them, as
            many as an anchor has positives at most.
        absolute_margin: A negative's cosine is at least this much below the positive's.
        relative_margin: It is at least this part of the positive's cosine below it.
        max_score: It is at most this.
        min_score: It is at least this.
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
    "easy": {},  # any other text, at random: similarity plays no part
    "semi_hard": {
        "sampling": "random",
        "range_min": 10,
        "range_max": 100,
        "relative_margin": 0.05,
    },
    # The margin that serves best to leave out unmarked positives (NV-Retriever, Moreira 2024).
    "hard": {"sampling": "top", "range_max": 100, "relative_margin": 0.05},
}
"""What a kind of negatives sets, where the person sets nothing else."""


def recipe_of(kind: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe of a kind, with a person's own settings.

    Args:
        kind: One of `KINDS`.
        settings: The fields of `Recipe`; None leaves what the kind says.

    Raises:
        ConfigError: A value breaks a rule, or says something that the kind does not ask.
    """
    one_of("negatives", kind, KINDS)
    names = [item.name for item in fields(Recipe)]
    given = {name: settings[name] for name in names if settings[name] is not None}
    for name in given.keys() - {"num_negatives"}:
        if kind == "easy":
            raise ConfigError(f"{name} chooses by similarity, which negatives=easy does not ask")
    recipe = Recipe(**{**KINDS[kind], **given})
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    at_least("num_negatives", recipe.num_negatives, 1)
    at_least("range_min", recipe.range_min, 0)
    one_of("sampling", recipe.sampling, SAMPLINGS)
    if recipe.range_max is not None:
        at_least("range_max", recipe.range_max, recipe.range_min + recipe.num_negatives)
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
