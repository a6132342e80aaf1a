"""Values in the grammar of Hydra's overrides, which is not quite JSON. Imports nothing heavy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def quoted(value: str) -> str:
    """Quote a text for the override grammar of Hydra.

    Example:
        >>> quoted("a, b")
        '"a, b"'
    """
    # Hydra reads a backslash as it is unless it stands before a quote, perhaps after others.
    body = re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), value)
    return f'"{body}"'


def literal(value: Any) -> str:
    """Write a plain value in the override grammar of Hydra, whose keys have no quotes.

    Example:
        >>> literal({"movie": ["a b", 1e-4, None]})
        '{movie: ["a b", 0.0001, null]}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)
