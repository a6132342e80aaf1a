"""Synthetic sample data: movie reviews with sentiment, and movie questions with BIO tags.

The texts are generated with a fixed seed from hand-written phrases and invented names (the `.toml`
files of this package). The label of a review is its overall sentiment; most reviews also contain a
phrase of the opposite sentiment. Questions are lower-case words with the 12 entity types of the MIT
Movie Corpus. Train, validation and test use separate names, phrases and templates; they share only
years, genres, adjectives and function words. The sample shows that a training works. It is not a
benchmark: scores on it do not transfer to real data.
"""

from __future__ import annotations

import re
from itertools import groupby
from random import Random
from typing import TypedDict

from candelabra.data.bio import parse_tag
from candelabra.data.sample.grammar import Grammar, load

SIZES = {"train": 1600, "validation": 200, "test": 400}
"""Number of rows of each split, the same for all data sets of the sample."""

_SEED = 20
_ASPECTS = ("acting", "script", "music", "pace", "pictures", "ending", "laughs", "craft")
_SIDES = {"POSITIVE": ("praise", "complaint"), "NEGATIVE": ("complaint", "praise")}
_REVIEW_WORDS = range(15, 61)
_QUESTION_WORDS = range(6, 26)


class Reviews(TypedDict):
    """Columns of the reviews.

    Attributes:
        text: Review.
        label: "POSITIVE" or "NEGATIVE".
    """

    text: list[str]
    label: list[str]


class Mentions(TypedDict):
    """Columns of the questions as plain texts.

    Attributes:
        text: Question.
        labels: Entity types that occur in the question.
        number: Number of entities in the question.
    """

    text: list[str]
    labels: list[list[str]]
    number: list[int]


class Pairs(TypedDict):
    """Columns of the pairs of reviews.

    Attributes:
        text1: First review.
        text2: Second review.
        label: "alike" if both have the same sentiment, else "different".
    """

    text1: list[str]
    text2: list[str]
    label: list[str]


class Questions(TypedDict):
    """Columns of the questions.

    Attributes:
        tokens: Words of the question.
        tags: BIO tag of each word.
    """

    tokens: list[list[str]]
    tags: list[list[str]]


def reviews(split: str) -> Reviews:
    """Generate movie reviews of 15 to 60 words, half of them positive.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ValueError: There is no such split.
    """
    rng = _generator("reviews", split)
    names = load(f"world_{split}")
    for pool in ("given", "surname", "film"):
        names[pool] = [name.title() for name in names[pool]]
    pools = load("shared") | names | load(f"reviews_{split}")
    for side in ("praise", "complaint"):
        pools[f"{side}_template"] = pools["template"] + pools[f"{side}_template"]
    grammar = Grammar(pools | {"label": sorted(_SIDES)}, rng)
    rows: dict[str, str] = {}
    while len(rows) < SIZES[split]:
        label = grammar.deal("label")
        text = _review(grammar, label, rng)
        while text in rows or len(text.split()) not in _REVIEW_WORDS:
            text = _review(grammar, label, rng)
        rows[text] = label
    return {"text": list(rows), "label": list(rows.values())}


def questions(split: str) -> Questions:
    """Generate movie questions of 6 to 25 words with BIO tags of 12 entity types.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ValueError: There is no such split.
    """
    rng = _generator("questions", split)
    grammar = Grammar(load("shared") | load(f"world_{split}") | load(f"questions_{split}"), rng)
    rows: dict[tuple[str, ...], list[str]] = {}
    while len(rows) < SIZES[split]:
        tokens, tags = _question(grammar)
        if len(tokens) in _QUESTION_WORDS:
            rows[tuple(tokens)] = tags
    return {"tokens": [list(tokens) for tokens in rows], "tags": list(rows.values())}


def mentions(split: str) -> Mentions:
    """Generate the questions as plain texts with their entity types and number of entities.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ValueError: There is no such split.
    """
    rows = questions(split)
    parsed = [[parse_tag(tag) for tag in tags] for tags in rows["tags"]]
    found = [[entity for prefix, entity in tags if prefix == "B"] for tags in parsed]
    return {
        "text": [" ".join(tokens) for tokens in rows["tokens"]],
        "labels": [sorted(set(types)) for types in found],
        "number": [len(types) for types in found],
    }


def pairs(split: str) -> Pairs:
    """Pair each review with another one; a pair is alike if both have the same sentiment.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ValueError: There is no such split.
    """
    rows = reviews(split)
    texts, sides = rows["text"], rows["label"]
    circle = list(range(len(texts)))
    _generator("pairs", split).shuffle(circle)
    other = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    agree = [sides[row] == sides[other[row]] for row in range(len(texts))]
    return {
        "text1": texts,
        "text2": [texts[other[row]] for row in range(len(texts))],
        "label": ["alike" if both else "different" for both in agree],
    }


def _generator(kind: str, split: str) -> Random:
    if split not in SIZES:
        raise ValueError(f"split must be one of {', '.join(SIZES)}; found {split!r}")
    # `random` hashes a text seed with SHA-512, so that PYTHONHASHSEED has no effect.
    return Random(f"{_SEED} {kind} {split}")


def _review(grammar: Grammar, label: str, rng: Random) -> str:
    """Generate one review; `pro` in a template is the sentiment of the label, `con` the other."""
    pro, con = _SIDES[label]
    aspects = iter(rng.sample(_ASPECTS, len(_ASPECTS)))
    sides = {"pro": pro, "con": con, "praise": "praise", "complaint": "complaint"}

    def choose(slot: re.Match[str]) -> str:
        """Return the slot for the side and aspect of a sentence."""
        pool = next(aspects) if slot[2] == "aspect" else slot[2]
        return f"{{{sides[slot[1]]}_{pool}}}"

    template = re.sub(r"\{(\w+):(\w+)\}", choose, grammar.deal(f"{pro}_template"))
    text = grammar.fill(template)
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda letter: letter[0].upper(), text)


def _question(grammar: Grammar) -> tuple[list[str], list[str]]:
    """Generate the words of one question and their BIO tags."""
    tokens: list[str] = []
    tags: list[str] = []
    pieces = grammar.segments(grammar.deal("template"))
    for kind, group in groupby(pieces, key=lambda piece: piece[1]):
        words = "".join(text for text, _ in group).split()
        tokens += words
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(words))]
    return tokens, tags
