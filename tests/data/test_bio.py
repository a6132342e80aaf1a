"""BIO tags: one reading for data, decoding and scores."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from candelabra.data.bio import is_tag, may_follow, parse_tag, tag_names

NO_TAGS = ["NOUN", "B", "B-", "b-Actor", "E-Actor", "B--Actor", "", "I-A-"]


@pytest.mark.parametrize("tag", NO_TAGS)
def test_what_is_no_tag_is_named(tag: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(ValueError, match=r"a BIO tag is 'O'.*found") as error:
        parse_tag(tag)
    assert repr(tag) in str(error.value)


def test_types_may_hold_hyphens_and_underscores() -> None:
    assert parse_tag("I-Character_Name") == ("I", "Character_Name")
    assert parse_tag("B-sub-type") == ("B", "sub-type")
    assert parse_tag("O") == ("O", "")


def test_names_of_types_are_tags_in_pairs() -> None:
    names = tag_names({"Year", "Actor"})
    assert names == ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
    assert all(map(is_tag, names))


def test_an_inside_follows_its_own_type_only() -> None:
    """Where a step is allowed, seqeval reads the second tag as seqeval's strict mode would."""
    tags = tag_names(["Actor", "Year"])
    for before, after in product(tags, repeat=2):
        opens = any(first == 1 for _, first, _ in get_entities([before, after]))
        stray = opens and after.startswith("I-")
        assert may_follow(parse_tag(before), parse_tag(after)) is not stray


def test_reading_tags_needs_no_torch() -> None:
    code = "import sys, candelabra.data.bio; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
