"""BIO tags: `O` outside of entities, `B-X` at the start and `I-X` inside of one of type X."""

from __future__ import annotations

from collections.abc import Iterable

OUTSIDE = "O"
RULE = "a BIO tag is 'O', or 'B-' or 'I-' and an entity type"


def parse_tag(tag: str) -> tuple[str, str]:
    """The prefix (`O`, `B` or `I`) and the entity type ("" for `O`) of a BIO tag.

    Raises:
        ValueError: `tag` is neither `O` nor `B-` or `I-` and a type. A type neither starts nor
            ends with a hyphen, which seqeval's two modes would read differently.

    Example:
        >>> parse_tag("B-Actor")
        ('B', 'Actor')
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, hyphen, entity = tag.partition("-")
    if prefix not in ("B", "I") or not hyphen or not entity or entity != entity.strip("-"):
        raise ValueError(f"{RULE}; found {tag!r}")
    return prefix, entity


def is_tag(tag: str) -> bool:
    """Whether `parse_tag` reads it."""
    try:
        parse_tag(tag)
    except ValueError:
        return False
    return True


def may_follow(before: tuple[str, str], tag: tuple[str, str]) -> bool:
    """Whether a word's tag may stand behind another's; the first word's stands behind an `O`.

    Forbidden are: O -> I-X; B-X or I-X -> I-Y for another type Y.

    Args:
        before: Prefix and type of the tag before, as `parse_tag` gives them.
        tag: Prefix and type of the tag.
    """
    return tag[0] != "I" or before[1] == tag[1]


def tag_names(types: Iterable[str]) -> list[str]:
    """The tags of these entity types: `O`, then `B-` and `I-` of each in alphabetical order."""
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in sorted(types) for prefix in "BI")]
