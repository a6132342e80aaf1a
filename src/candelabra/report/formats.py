"""Format numbers for a page. Points are hundredths of a metric."""

from __future__ import annotations

EMPTY = "-"
"""A cell without a value."""


def points(value: float | None, *, signed: bool = False) -> str:
    """Return a score or difference in points.

    Example:
        >>> points(0.0125, signed=True)
        '+1.25'
    """
    if value is None:
        return EMPTY
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


def p_words(value: float | None) -> str:
    """Return a p-value with three decimals."""
    if value is None:
        return EMPTY
    return "< .001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Return a duration in seconds, minutes or hours.

    Example:
        >>> duration(5400)
        '1.5 h'
    """
    if seconds is None:
        return EMPTY
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_points(margin: float) -> str:
    """Return a margin in points.

    Example:
        >>> in_points(0.01)
        '1 point'
    """
    number = f"{100 * margin:.3g}"
    return f"{number} point" if number == "1" else f"{number} points"


def number(value: float | None) -> str:
    """Return a score with four decimals, or a large number with one.

    Example:
        >>> number(0.91234), number(12345.6)
        ('0.9123', '12,345.6')
    """
    if value is None:
        return EMPTY
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


LONGEST = 300
"""Maximum number of characters of a text on a page."""


def clipped(text: str, longest: int = LONGEST) -> str:
    """Return the beginning of a text.

    Example:
        >>> clipped("abcdef", 3)
        'abc…'
    """
    return text if len(text) <= longest else f"{text[:longest]}…"
