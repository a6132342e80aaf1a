"""Cells of a row -> text, number, words; what breaks a rule is a `BadRowError`."""

from __future__ import annotations

import math

from candelabra.data.files.table import BadRowError, shown

Spans = list[tuple[int, int]]
"""The (start, end) characters of words in their text."""


def checked_text(value: object, *, empty: str = "empty text") -> str:
    """The text of a cell.

    Args:
        value: What stands in the cell.
        empty: The rule that a text of nothing but white space breaks.

    Raises:
        BadRowError: It is no text, is empty, holds a NUL byte, or was not UTF-8.
    """
    if not isinstance(value, str):
        raise BadRowError("wrong type", f"text expected, found {shown(value)}")
    if not value.strip():
        raise BadRowError(empty, shown(value))
    if "\0" in value:
        raise BadRowError("NUL byte", f"at character {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        # Readers keep a byte that is not UTF-8 as U+DC00 plus that byte.
        found = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}"
        raise BadRowError("broken UTF-8", f"{found} at character {error.start}") from error
    return value


def without_case(text: str) -> str:
    """What two texts share that differ in nothing but case and spaces."""
    return " ".join(text.split()).casefold()


def checked_number(value: object) -> float:
    """The number of a cell; csv holds nothing but text, so that numerals are read too.

    Raises:
        BadRowError: It is no number, or not finite.
    """
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        # Python would read 1_000, and the digits of all scripts.
        raise BadRowError("no number", f"a finite number expected, found {shown(value)}")
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise BadRowError("no number", f"a finite number expected, found {shown(value)}")
    return number


def joined_words(words: object) -> tuple[str, Spans]:
    """Words joined by single spaces, and the (start, end) characters of each.

    Raises:
        BadRowError: It is no list of words, has none, or one of them is blank.
    """
    if not isinstance(words, list):
        raise BadRowError("wrong type", f"a list of words expected, found {shown(words)}")
    if not words:
        raise BadRowError("no words", "an empty list")
    spans, start = [], 0
    for place, word in enumerate(words):
        if not isinstance(word, str) or not word.strip():
            rule = "blank word" if isinstance(word, str) else "wrong type"
            raise BadRowError(rule, f"word {place} is {shown(word)}")
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return checked_text(" ".join(words)), spans
