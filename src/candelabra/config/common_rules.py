"""Rules of single values that several keys have in common."""

from __future__ import annotations

from candelabra.config.rules import (
    Rule,
    choice,
    either,
    flag,
    list_of,
    node_of_a_task,
    optional,
    real,
    settings,
    text,
)

BAD_ROWS = choice("error", "skip")
PROBABILITY = real(least=0, most=1)
POSITIVE = real(above=0)
NOT_NEGATIVE = real(least=0)
COSINE = real(least=-1, most=1)
WORDS = list_of(text)
FILES = either("a file, or a list of files", text, list_of(text))
SCALAR = either("text or a number", text, real(), flag)

NODE_OR_NULL = optional(settings)
"""Rule of a part that can be switched off."""
NODE_OR_NAME = either("a name, or settings", text, settings)
NODES: tuple[Rule, ...] = (settings, NODE_OR_NULL, NODE_OR_NAME, node_of_a_task)
"""Rules of mappings whose keys have rules of their own."""
