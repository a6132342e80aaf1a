"""BIO tags: `B-X` starts an entity of type X, `I-X` continues it, `O` is outside of entities."""

from __future__ import annotations

from collections.abc import Iterable

OUTSIDE = "O"
RULE = "a BIO tag is 'O', or 'B-' or 'I-' and an entity type"


def parse_tag(tag: str) -> tuple[str, str]:
    """Split a BIO tag into its prefix and its entity type.

    Returns:
        The prefix `O`, `B` or `I`, and the entity type, which is empty for `O`.

    Raises:
        ValueError: The tag is neither `O` nor `B-` or `I-` followed by a type. A type must not
            start or end with a hyphen, because the two modes of seqeval parse it differently.

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
    """Return whether `parse_tag` accepts a tag.

    Example:
        >>> is_tag("I-Actor"), is_tag("Actor")
        (True, False)
    """
    try:
        parse_tag(tag)
    except ValueError:
        return False
    return True


def may_follow(before: tuple[str, str], tag: tuple[str, str]) -> bool:
    """Return whether a tag is valid after the tag of the previous word.

    `I-X` is valid only after `B-X` or `I-X` of the same type. The tag of the first word counts as
    following an `O`.

    Args:
        before: Prefix and type of the previous tag, as `parse_tag` returns them.
        tag: Prefix and type of the tag.

    Example:
        >>> may_follow(("B", "Actor"), ("I", "Actor")), may_follow(("O", ""), ("I", "Actor"))
        (True, False)
    """
    return tag[0] != "I" or before[1] == tag[1]


def tag_names(types: Iterable[str]) -> list[str]:
    """Return the tags of entity types: `O`, then `B-` and `I-` of each type, sorted.

    Example:
        >>> tag_names(["Year", "Actor"])
        ['O', 'B-Actor', 'I-Actor', 'B-Year', 'I-Year']
    """
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in sorted(types) for prefix in "BI")]
