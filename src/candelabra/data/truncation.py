"""Truncations of texts that have more tokens than fit.

A truncation is a function `(length, budget) -> positions`: of a text of `length` tokens it returns
the positions of those to keep, at most `budget`, in their order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def head(length: int, budget: int) -> np.ndarray:
    """Keep the beginning.

    Example:
        >>> head(5, 3)
        array([0, 1, 2])
    """
    return np.arange(min(length, budget))


def tail(length: int, budget: int) -> np.ndarray:
    """Keep the end.

    Example:
        >>> tail(5, 3)
        array([2, 3, 4])
    """
    return np.arange(max(0, length - budget), length)


def head_tail(length: int, budget: int) -> np.ndarray:
    """Keep the first quarter and fill up from the end (Sun et al. 2019: 128 + 382 of 510).

    Example:
        >>> head_tail(9, 4)
        array([0, 6, 7, 8])
    """
    if length <= budget:
        return np.arange(length)
    front = round(budget / 4)
    return np.concatenate([np.arange(front), np.arange(length - (budget - front), length)])


TRUNCATIONS: dict[str, Callable[[int, int], np.ndarray]] = {
    "head": head,
    "tail": tail,
    "head_tail": head_tail,
}
