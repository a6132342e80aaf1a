"""Decide which examples of which task each step holds."""

from candelabra.data.mixing.balancing import (
    annealed,
    capped,
    equal,
    gap_driven,
    proportional,
    ratios,
    temperature,
)
from candelabra.data.mixing.steps import alternate, joint

__all__ = [
    "alternate",
    "annealed",
    "capped",
    "equal",
    "gap_driven",
    "joint",
    "proportional",
    "ratios",
    "temperature",
]
