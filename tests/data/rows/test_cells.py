"""Cells: words and where they stand; what is refused is tried row by row in test_examples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.rows.cells import joined_words

WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


@given(st.lists(WORD, min_size=1))
def test_spans_cut_the_words_out_of_the_text(words: list[str]) -> None:
    text, spans = joined_words(words)
    assert [text[start:end] for start, end in spans] == words
    assert text == " ".join(words)
