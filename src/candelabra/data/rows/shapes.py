"""Shapes of rows: the columns of each shape, and the checks of its cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from candelabra.data.bio import OUTSIDE, RULE, is_tag, may_follow, parse_tag
from candelabra.data.files.table import BadRowError, shown
from candelabra.data.rows.cells import Spans, checked_number, checked_text, joined_words
from candelabra.data.rows.label_sets import label_set
from candelabra.data.rows.labels import LabelIds
from candelabra.errors import DataError
from candelabra.records import IGNORED

NO_TAG = "_"
"""Mark of a missing tag in text files, unless it is the name of a tag."""


class Row(NamedTuple):
    """Validated row: its texts, its label, and the character offsets of its words."""

    texts: tuple[str, ...]
    label: int | float | list[int]
    words: Spans | None = None


Parser = Callable[..., Row]
"""Function from the cells of a row, in the order of the shape, to the row, or a BadRowError."""


@dataclass(frozen=True)
class Rules:
    """Settings of the checks of a row.

    Attributes:
        labels: Names of the labels or tags.
        partial: Whether individual labels may be missing.
        score_range: Lowest and highest score, which are mapped to 0 and 1.
        positions: Whether the column contains positions of labels instead of their names.
    """

    labels: Sequence[str]
    partial: bool = False
    score_range: tuple[float, float] = (0.0, 1.0)
    positions: bool = False


def _single_text(rules: Rules) -> Parser:
    label_id = LabelIds(rules.labels, positions=rules.positions)
    return lambda text, label: Row((checked_text(text),), label_id(label))


def _several_labels(rules: Rules) -> Parser:
    label_id = LabelIds(rules.labels, positions=rules.positions)
    return lambda text, names: Row((checked_text(text),), label_set(names, label_id))


def _number(_: Rules) -> Parser:
    return lambda text, number: Row((checked_text(text),), checked_number(number))


def _unlabelled_text(_: Rules) -> Parser:
    return lambda text: Row((checked_text(text),), IGNORED)


def _tagged_words(rules: Rules) -> Parser:
    labels, partial = rules.labels, rules.partial
    tag_id = LabelIds(labels, kind="tag", positions=rules.positions)
    stray = _stray_steps(labels)

    def parse(words: object, tags: object) -> Row:
        """Check the words and tags of one row, and convert them."""
        text, spans = joined_words(words)
        if not isinstance(tags, list):
            raise BadRowError("wrong type", f"tags must be a list, found {shown(tags)}")
        if len(tags) != len(spans):
            raise BadRowError("unequal lengths", f"{len(spans)} words, {len(tags)} tags")
        ids = [
            IGNORED
            if partial and no_tag(tag, labels)
            else _tag(tag_id, tag, place=place, words=words)
            for place, tag in enumerate(tags)
        ]
        _check_steps(ids, stray, labels)
        return Row((text,), ids, spans)

    return parse


def _check_steps(
    ids: Sequence[int], stray: Container[tuple[int | None, int]], labels: Sequence[str]
) -> None:
    for place, (before, tag) in enumerate(zip([None, *ids], ids, strict=False)):
        # Any tag may follow a word without a tag, so those pairs are never in `stray`.
        if (before, tag) in stray:
            follows = "nothing" if before is None else repr(labels[before])
            found = f"{labels[tag]!r} of word {place} follows {follows}"
            raise BadRowError("stray I- tag", found)


def _unlabelled_words(_: Rules) -> Parser:
    def parse(words: object) -> Row:
        """Check the words of one row, and convert them."""
        text, spans = joined_words(words)
        return Row((text,), [IGNORED] * len(spans), spans)

    return parse


def _unlabelled_pair(_: Rules) -> Parser:
    return lambda *texts: Row(tuple(map(checked_text, texts)), IGNORED)


def no_tag(tag: object, labels: Sequence[str]) -> bool:
    """Return whether a word has no tag."""
    return tag is None or (tag == NO_TAG and NO_TAG not in labels)


def _tag(tag_id: LabelIds, tag: object, *, place: int, words: Any) -> int:
    try:
        return tag_id(tag)
    except BadRowError as fault:
        word = f"(word {place}, {shown(words[place])})"
        if isinstance(tag, str) and fault.name and not is_tag(tag):
            raise BadRowError("no BIO tag", f"{shown(tag)} {word}; {RULE}") from fault
        fault.found += f" {word}"
        raise


def _stray_steps(labels: Sequence[str]) -> set[tuple[int | None, int]]:
    """Return the invalid pairs of a tag (`None` at the start) and the tag that follows it."""
    try:
        tags = [parse_tag(label) for label in labels]
    except ValueError as error:
        raise DataError(f"labels: {error}") from error
    befores: list[tuple[int | None, tuple[str, str]]] = [(None, parse_tag(OUTSIDE))]
    befores += enumerate(tags)
    return {
        (i, j) for i, before in befores for j, tag in enumerate(tags) if not may_follow(before, tag)
    }


def _scored_pair(rules: Rules) -> Parser:
    lowest, highest = rules.score_range

    def parse(first: object, second: object, score: object) -> Row:
        """Check the texts and the score of one row, and scale the score to 0 to 1."""
        number = checked_number(score)
        if not lowest <= number <= highest:
            raise BadRowError(
                "score out of range", f"{number:g}; score_range is {lowest:g} to {highest:g}"
            )
        texts = (checked_text(first), checked_text(second))
        return Row(texts, (number - lowest) / (highest - lowest))

    return parse


def _labelled_pair(rules: Rules) -> Parser:
    label_id = LabelIds(rules.labels, positions=rules.positions)
    return lambda first, second, label: Row(
        (checked_text(first), checked_text(second)), label_id(label)
    )


def _belonging(_: Rules) -> Parser:
    # The texts themselves are the training signal. The label only marks the row as counted.
    return lambda *texts: Row(tuple(map(checked_text, texts)), 1.0)


PAIR_WITH_SCORE = ("sentence1", "sentence2", "score")
PAIR_WITH_LABEL = ("sentence1", "sentence2", "label")
POSITIVE_PAIR = ("anchor", "positive")
TRIPLET = ("anchor", "positive", "negative")
TEXT_WITH_LABEL = ("text", "label")

SHAPES: dict[tuple[str, ...], Callable[[Rules], Parser]] = {
    TEXT_WITH_LABEL: _single_text,
    ("words", "tags"): _tagged_words,
    ("text", "labels"): _several_labels,
    ("text", "number"): _number,
    PAIR_WITH_SCORE: _scored_pair,
    PAIR_WITH_LABEL: _labelled_pair,
    POSITIVE_PAIR: _belonging,
    TRIPLET: _belonging,
    ("text",): _unlabelled_text,
    ("words",): _unlabelled_words,
    ("sentence1", "sentence2"): _unlabelled_pair,
}
"""Roles of the columns of each shape, in the order of its parser's arguments; labels last."""

TARGETS = ("label", "tags", "labels", "number", "score")
"""Roles of columns that contain labels; the others contain texts."""
LEARNT = (*TARGETS, "positive", "negative")
"""Roles of columns that contain the target of the training."""


CROSSED: dict[tuple[str, ...], tuple[str, ...]] = {
    PAIR_WITH_SCORE: ("text", "number"),
    PAIR_WITH_LABEL: TEXT_WITH_LABEL,
}
"""Shape of pairs for a head that reads both texts as one sequence (a cross-encoder)."""


def shape_of(columns: Collection[str]) -> tuple[str, ...]:
    """Return the roles in `columns`, in the order of their shape.

    Raises:
        DataError: If the roles are not those of any shape.
    """
    for roles in SHAPES:
        if set(roles) == set(columns):
            return roles
    shapes = " or ".join("{" + ", ".join(roles) + "}" for roles in SHAPES)
    raise DataError(f"columns must name {shapes}, found {{{', '.join(columns)}}}")
