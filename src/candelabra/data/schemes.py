"""Tagging schemes by name, and their conversion to BIO.

- `iob2`: `B-X` starts an entity, `I-X` continues it. This is BIO, and nothing is converted.
- `iob1`: `I-X` may start an entity; `B-X` only separates it from an entity of the same type before.
- `iobes`: `S-X` is an entity of one word, `E-X` ends a longer one.
- `bilou`: the same with `U-X` and `L-X`.
- `bmes`: as `iobes`, with `M-X` within an entity.
- `io`: `I-X`, or the type `X` alone; neighbouring words of a type are one entity.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from candelabra.data.bio import OUTSIDE, is_tag
from candelabra.data.files.table import BadRowError

AUTO = "auto"
BIO = "iob2"
SCHEMES = (AUTO, BIO, "iob1", "iobes", "bilou", "bmes", "io")
SPELLED = {
    "iobes": {"S": "B", "E": "I"},
    "bilou": {"U": "B", "L": "I"},
    "bmes": {"S": "B", "E": "I", "M": "I"},
}
"""Prefixes of a scheme with ends -> those of BIO."""
PREFIXED = re.compile(r"([BILUSEM])-(.+)", re.DOTALL)
BARE = re.compile(r"[A-Za-z][\w./&]+")
"""A type without a prefix, in `io`."""
OTHER_MARK = re.compile(r"[BILUSEM][_./&].+")
"""A prefix and a type with another mark than `-` between them, or a type that looks like it."""


def recognized(sentences: Collection[Sequence[str]]) -> str:
    """Return the scheme of tagged sentences; `iob2` where none is certain.

    Args:
        sentences: Tags of each sentence.

    Example:
        >>> recognized([["S-PER", "O"]]), recognized([["I-PER", "O"]]), recognized([["B-PER", "O"]])
        ('iobes', 'iob1', 'iob2')
    """
    distinct = set().union(*sentences)
    prefixes = {match[1] for tag in distinct if (match := PREFIXED.fullmatch(tag))}
    for scheme, ends in SPELLED.items():
        if prefixes & ends.keys() and prefixes <= {"B", "I", *ends}:
            return scheme
    bare = {tag for tag in distinct if tag not in (OUTSIDE, "", "_")}
    is_bare = all(map(BARE.fullmatch, bare)) and not any(map(OTHER_MARK.fullmatch, bare))
    if OUTSIDE in distinct and bare and is_bare:
        return "io"
    return "iob1" if prefixes <= {"B", "I"} and _is_iob1(sentences) else "iob2"


def _is_iob1(sentences: Iterable[Sequence[str]]) -> bool:
    """Return whether each entity that does not follow one of its type starts with `I-X`."""
    return {mark for tags in sentences for mark in _first_marks(tags)} == {"I"}


def _first_marks(tags: Sequence[str]) -> Iterator[str]:
    """Yield the mark of each tag whose entity type differs from that of the tag before."""
    before = ""
    for match in map(PREFIXED.fullmatch, tags):
        if match is not None and match[2] != before:
            yield match[1]
        before = match[2] if match is not None else ""


def to_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """Convert the tags of a sentence to BIO, and keep other words as they are.

    Args:
        tags: Tags of the words.
        scheme: A name of `SCHEMES` but `auto`.

    Returns:
        Tags `O`, `B-X` and `I-X`.

    Raises:
        ValueError: The tags are no valid sequence of a scheme whose entities have ends.

    Example:
        >>> to_bio(["B-LOC", "E-LOC", "S-PER"], "iobes"), to_bio(["LOC", "LOC", "O"], "io")
        (['B-LOC', 'I-LOC', 'B-PER'], ['B-LOC', 'I-LOC', 'O'])
    """
    if scheme == "iob2":
        return list(tags)
    if scheme in SPELLED:
        return _without_ends(tags, scheme)
    found, before = [], ""
    for tag in tags:
        match = PREFIXED.fullmatch(tag)
        prefix, kind = (match[1], match[2]) if match is not None else ("I", tag)
        bare = scheme == "io" and BARE.fullmatch(tag) is not None
        if (match is None and not bare) or prefix not in "BI":
            found.append(tag)
            before = ""
            continue
        found.append(f"{'I' if prefix == 'I' and kind == before else 'B'}-{kind}")
        before = kind
    return found


def converted(
    rows: Sequence[Sequence[str] | None], scheme: str
) -> tuple[list[list[str] | None], dict[int, BadRowError]]:
    """Convert the tags of each sentence to BIO.

    Args:
        rows: Tags of each sentence; `None` is kept.
        scheme: A name of `SCHEMES` but `auto`.

    Returns:
        The tags, and a fault for each sentence that is invalid, whose tags are kept.
    """
    found: list[list[str] | None] = []
    faults: dict[int, BadRowError] = {}
    for row, tags in enumerate(rows):
        try:
            found.append(None if tags is None else to_bio(tags, scheme))
        except ValueError as error:
            found.append(None if tags is None else list(tags))
            faults[row] = BadRowError(f"invalid {scheme.upper()}", str(error))
    return found, faults


def _without_ends(tags: Sequence[str], scheme: str) -> list[str]:
    found, open_kind = [], ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        match = PREFIXED.fullmatch(tag)
        prefix, kind = (match[1], match[2]) if match is not None else ("", "")
        plain = SPELLED[scheme].get(prefix, prefix)
        if plain not in ("", "B", "I"):
            raise ValueError(f"{tag!r} of word {place} has a prefix of another scheme")
        goes_on = plain == "I"
        if bool(open_kind) != goes_on or (goes_on and kind != open_kind):
            what = repr(tag) if place < len(tags) else "the end of the sentence"
            raise ValueError(f"{what} of word {place} follows {_said(tags, place)}")
        open_kind = kind if prefix in ("B", "I", "M") else ""
        found.append(f"{plain}-{kind}" if prefix else tag)
    return found[:-1]


def _said(tags: Sequence[str], place: int) -> str:
    return repr(tags[place - 1]) if place else "nothing"


def all_tags(tags: Iterable[str]) -> bool:
    """Return whether each is a tag of some scheme with prefixes, or `O`."""
    return all(tag == OUTSIDE or is_tag(tag) or PREFIXED.fullmatch(tag) for tag in tags)
