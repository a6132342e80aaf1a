from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from candelabra.errors import ConfigError
from candelabra.mining.negatives import (
    PrecomputedEmbeddings,
    Triplets,
    mine_negatives,
    sample_negatives,
)
from candelabra.mining.pair_files import Pair, unique_pairs
from candelabra.mining.recipes import KINDS, Recipe, recipe_of
from helpers.corpora import unit

NOTHING = dict.fromkeys(Recipe.__dataclass_fields__)


def clustered(
    groups: int = 12, each: int = 6, *, seed: int = 0
) -> tuple[list[Pair], PrecomputedEmbeddings]:
    """Pairs of near texts, some anchors with several positives, some texts on both sides."""
    rng = np.random.default_rng(seed)
    centres = unit(groups, 8, seed=seed)
    texts = [f"group {group} text {text}" for group in range(groups) for text in range(each)]
    vectors = np.repeat(centres, each, 0) + 0.35 * rng.normal(size=(len(texts), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    pairs = []
    for group in range(groups):
        a, b, c, d, e, _ = texts[group * each : group * each + each]
        pairs += [(a, b), (a, c), (d, e), (b, d)]
    return unique_pairs(pairs).pairs, PrecomputedEmbeddings(texts, vectors)


def own_of(pairs: list[Pair]) -> dict[str, set[str]]:
    own: dict[str, set[str]] = {}
    for anchor, positive in pairs:
        own.setdefault(anchor, {anchor}).add(positive)
    return own


def check(triplets: Triplets, pairs: list[Pair]) -> None:
    """What holds for negatives of every kind."""
    own, candidates = own_of(pairs), {positive for _, positive in pairs}
    rows = list(zip(triplets.anchors, triplets.positives, triplets.negatives, strict=True))
    assert len(set(rows)) == len(rows)
    for anchor, positive, negative in rows:
        assert (anchor, positive) in pairs
        assert negative in candidates - own[anchor]


def cosine(known: PrecomputedEmbeddings, left: str, right: str) -> float:
    """In float64, one by one."""
    a, b = (known.vectors_ND[known.texts.index(text)].astype(float) for text in (left, right))
    return float(a @ b)


@pytest.mark.parametrize("num_negatives", [1, 3, 1000])
def test_drawn_negatives_are_others_positives(num_negatives: int) -> None:
    pairs, _ = clustered()
    triplets = sample_negatives(pairs, num_negatives, seed=1)
    check(triplets, pairs)
    own = own_of(pairs)
    candidates = {positive for _, positive in pairs}
    for anchor, positive in pairs:
        found = [
            triplets.negatives[row]
            for row in range(len(triplets))
            if (triplets.anchors[row], triplets.positives[row]) == (anchor, positive)
        ]
        assert len(found) == min(num_negatives, len(candidates - own[anchor]))


def test_drawn_negatives_are_spread_evenly() -> None:
    pairs = [(f"a{row}", f"b{row}") for row in range(10)]
    counts = dict.fromkeys((positive for _, positive in pairs), 0)
    for seed in range(300):
        for negative in sample_negatives(pairs, seed=seed).negatives:
            counts[negative] += 1
    # 3,000 draws over 10 texts: 300 each, standard deviation 16.
    assert all(220 < count < 380 for count in counts.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_says_it_all(kind: str) -> None:
    pairs, known = clustered()

    def once(seed: int) -> Triplets:
        if kind == "easy":
            return sample_negatives(pairs, seed=seed)
        return mine_negatives(pairs, known, recipe_of(kind, NOTHING), seed=seed)

    once(3)  # imports draw as well
    random.seed(7)
    before = random.getstate()
    assert once(3) == once(3)
    assert random.getstate() == before
    if kind != "hard":
        assert once(3) != once(4)


RECIPES = {
    "plain": {},
    "several": {"num_negatives": 4},
    "absolute": {"absolute_margin": 0.2},
    "relative": {"relative_margin": 0.3, "num_negatives": 2},
    "both": {"relative_margin": 0.1, "absolute_margin": 0.3},
    "scores": {"max_score": 0.4, "min_score": -0.2, "num_negatives": 3},
    "random": {"sampling": "random", "num_negatives": 3, "range_max": 20, "absolute_margin": 0.05},
    "range": {"range_min": 4, "range_max": 9, "num_negatives": 2},
}


@pytest.mark.parametrize("case", RECIPES)
def test_mined_negatives_obey_the_recipe(case: str) -> None:
    """Against every positive of the anchor, by cosines of our own."""
    pairs, known = clustered()
    recipe = replace(Recipe(), **RECIPES[case])
    triplets = mine_negatives(pairs, known, recipe)
    check(triplets, pairs)
    assert len(triplets) > 10
    own = own_of(pairs)
    for anchor, negative in zip(triplets.anchors, triplets.negatives, strict=True):
        score = cosine(known, anchor, negative) - 1e-6
        for positive in own[anchor] - {anchor}:
            best = cosine(known, anchor, positive)
            if recipe.absolute_margin is not None:
                assert score <= best - recipe.absolute_margin
            if recipe.relative_margin is not None:
                assert score <= best - abs(best) * recipe.relative_margin
        if recipe.max_score is not None:
            assert recipe.min_score is not None
            assert recipe.min_score <= score + 2e-6
            assert score <= recipe.max_score


@pytest.mark.parametrize("case", ["plain", "relative", "both", "range"])
def test_top_takes_the_most_similar_that_are_allowed(case: str) -> None:
    """A loop over all candidates finds the same negatives."""
    pairs, known = clustered()
    # With range_max, the miner looks at all candidates.
    recipe = replace(Recipe(range_max=60), **RECIPES[case])
    triplets = mine_negatives(pairs, known, recipe)
    found: dict[str, set[str]] = {}
    for anchor, negative in zip(triplets.anchors, triplets.negatives, strict=True):
        found.setdefault(anchor, set()).add(negative)
    own, candidates = own_of(pairs), {positive for _, positive in pairs}
    for anchor, mine in own.items():
        least = min(cosine(known, anchor, positive) for positive in mine - {anchor})
        relative, absolute = recipe.relative_margin, recipe.absolute_margin
        limits = [
            math.inf if relative is None else least - abs(least) * relative,
            math.inf if absolute is None else least - absolute,
        ]
        scores = {text: cosine(known, anchor, text) for text in candidates - mine}
        allowed = sorted((t for t in scores if scores[t] <= min(limits)), key=lambda t: -scores[t])
        expected = allowed[recipe.range_min :][: recipe.num_negatives]
        assert found.get(anchor, set()) == set(expected)


def test_an_anchor_that_is_a_candidate_is_never_its_own_negative() -> None:
    known = PrecomputedEmbeddings(["a", "b", "c"], unit(3))
    pairs = [("a", "b"), ("b", "a"), ("c", "b")]
    triplets = mine_negatives(pairs, known, Recipe(num_negatives=2))
    check(triplets, pairs)
    assert list(zip(triplets.anchors, triplets.positives, triplets.negatives, strict=True)) == [
        ("c", "b", "a")
    ]


def test_few_texts_give_what_there_is() -> None:
    known = PrecomputedEmbeddings(["a", "b", "c", "d"], unit(4))
    assert len(mine_negatives([("a", "b")], known, Recipe())) == 0
    assert len(sample_negatives([("a", "b")])) == 0
    both = [("a", "b"), ("c", "d")]
    assert len(mine_negatives(both, known, recipe_of("semi_hard", NOTHING))) == 0
    check(mine_negatives(both, known, Recipe(num_negatives=5)), both)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    pairs, known = clustered()
    mine_negatives(pairs, known, Recipe())
    assert capfd.readouterr() == ("", "")


def test_cosines_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candelabra.mining.negatives.BLOCK", 2)
    _, known = clustered()
    left, right = known.texts[:5], known.texts[7:12]
    right_cosines = [cosine(known, a, b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(known.cosines(left, right), right_cosines, atol=1e-6)
    assert known.cosines([], []).shape == (0,)
    both = known.vectors_ND[:5], known.vectors_ND[7:12]
    torch.testing.assert_close(known.similarity(*both).diagonal(), known.similarity_pairwise(*both))


def test_a_kind_gives_way_to_what_a_person_says() -> None:
    assert recipe_of("hard", NOTHING) == Recipe(relative_margin=0.05, range_max=100)
    own = {**NOTHING, "relative_margin": 0.2, "sampling": "random", "num_negatives": 3}
    expected = Recipe(num_negatives=3, sampling="random", relative_margin=0.2, range_max=100)
    assert recipe_of("hard", own) == expected
    assert recipe_of("semi_hard", {**NOTHING, "range_min": 0}).range_max == 100
    assert recipe_of("easy", {**NOTHING, "num_negatives": 2}) == Recipe(num_negatives=2)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("harder", {}, "did you mean 'hard'?"),
        ("easy", {"max_score": 0.5}, "max_score chooses by similarity"),
        ("hard", {"num_negatives": 0}, "num_negatives must be a whole number of at least 1"),
        ("hard", {"range_min": -1}, "range_min must be"),
        ("hard", {"range_min": 5, "range_max": 5}, "range_max must be at least .* is 6, got 5"),
        ("semi_hard", {"num_negatives": 91}, "range_max .* num_negatives, which is 101, got 100"),
        ("hard", {"relative_margin": -0.1}, "relative_margin must be a number at least 0"),
        ("hard", {"max_score": 1.5}, "max_score must be a number at least -1 and at most 1"),
        ("hard", {"max_score": 0.1, "min_score": 0.2}, "max_score must be a number at least 0.2"),
        ("hard", {"sampling": "tpo"}, "did you mean 'top'?"),
    ],
)
def test_wrong_recipes(kind: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe_of(kind, {**NOTHING, **settings})


def test_some_triplets_are_whole_ones() -> None:
    pairs, _ = clustered()
    triplets = sample_negatives(pairs, 3)
    assert triplets.sample(10**6, seed=0) == triplets
    sampled = triplets.sample(7, seed=0)
    check(sampled, pairs)
    assert len(sampled) == 7
    assert sampled == triplets.sample(7, seed=0) != triplets.sample(7, seed=1)
