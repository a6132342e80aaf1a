"""Values written as overrides, beside Hydra's own reader."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from candelabra.config.grammar import literal, quoted

# Hydra reads texts with an interpolation as such.
TEXTS = st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]))
TRICKY = st.text(st.sampled_from("\\\"'a \n\t,{}[]:="))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS | TRICKY,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def read(word: str) -> Any:
    return OverridesParser.create().parse_override(f"key={word}").value()


@given(TEXTS | TRICKY)
def test_hydra_reads_a_quoted_text_as_it_was(text: str) -> None:
    assert read(quoted(text)) == text


@given(PLAIN)
def test_hydra_reads_a_literal_as_it_was(value: Any) -> None:
    assert read(literal(value)) == value


@pytest.mark.parametrize("text", ["query:\n", "a\\", 'say "no"', 'end\\"', "C:\\new\\test", ""])
def test_what_json_would_change(text: str) -> None:
    assert read(literal({"prompt": [text]})) == {"prompt": [text]}
