from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SIDES = {"candelabra", "sentence-transformers"}


@pytest.mark.slow
def test_both_sides_embed_the_same_texts_to_the_same_vectors(bench: Callable[..., Any]) -> None:
    words = ["--limit", "40", "--batch-size", "16", "--precision", "32-true"]
    found = bench("embed_speed.py", *words)["results"]
    assert list(found) == ["imdb", "stsb"]
    for result in found.values():
        assert result["texts"] == 40
        # The script itself fails beyond 1e-5.
        assert result["furthest"] <= 1e-5
        assert result["seconds"].keys() == SIDES
        for key in ("ratio", "processor_ratio"):
            (ratio,) = result[key]["turns"]
            assert result[key]["median"] == result[key]["fastest"] == ratio > 0


@pytest.mark.slow
def test_repeated_texts_can_be_left_out(bench: Callable[..., Any]) -> None:
    found = bench("embed_speed.py", "--texts", "stsb", "--distinct")["results"]["stsb"]
    assert found["texts"] == found["distinct"] > 0
