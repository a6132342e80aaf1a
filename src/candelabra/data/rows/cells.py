"""Check the cells of a row: texts, numbers and words; a bad cell raises a `BadRowError`."""

from __future__ import annotations

import math
from decimal import Decimal

from candelabra.data.files.table import BadRowError, shown

Spans = list[tuple[int, int]]
"""Character offsets (start, end) of words in their text."""


def checked_text(value: object, *, empty: str = "empty text") -> str:
    """Return the text of a cell.

    Args:
        value: Cell.
        empty: Name of the rule against blank texts, for the error message.

    Raises:
        BadRowError: If the cell is not a text, is blank, contains a NUL byte, or is not UTF-8.
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
        # Readers represent a byte that is not UTF-8 as U+DC00 plus the byte.
        found = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}"
        raise BadRowError("broken UTF-8", f"{found} at character {error.start}") from error
    return value


def is_broken(text: str) -> bool:
    """Return whether a text has bytes that are not UTF-8, or half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def without_case(text: str) -> str:
    """Return a text in lower case with single spaces, to compare texts regardless of both."""
    return " ".join(text.split()).casefold()


def checked_number(value: object) -> float:
    """Return the number of a cell; numerals are read too, since csv cells are texts.

    Raises:
        BadRowError: If the cell is not a finite number.
    """
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        # Python would accept 1_000, and the digits of all scripts.
        raise BadRowError("no number", f"a finite number expected, found {shown(value)}")
    try:
        number = float(value) if isinstance(value, (int, float, Decimal, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise BadRowError("no number", f"a finite number expected, found {shown(value)}")
    return number


def joined_words(words: object) -> tuple[str, Spans]:
    """Return words joined by single spaces, and the character offsets of each.

    Raises:
        BadRowError: If `words` is not a list of texts, is empty, or contains a blank word.
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
